// SPDX-License-Identifier: Apache-2.0
#include "tests/support/image_model.h"

#include <fmt/format.h>

#include <algorithm>

#include "tests/support/compressed.h"

namespace chainfs {

Status BufferBelow::ReadBelow(GuestOffset offset, std::span<std::byte> out) const {
  const uint64_t have = offset.value >= bytes_.size()
                            ? 0
                            : std::min<uint64_t>(out.size(), bytes_.size() - offset.value);
  std::ranges::fill(out, std::byte{0});
  std::copy_n(bytes_.begin() + static_cast<int64_t>(have == 0 ? 0 : offset.value),
              static_cast<int64_t>(have), out.begin());
  return {};
}

Result<std::vector<std::byte>> ReadWholeImage(Image& image, const BackingReader* below) {
  std::vector<std::byte> bytes(image.virtual_size());
  std::vector<std::byte> cluster(image.cluster_size());
  for (uint64_t at = 0; at < bytes.size();) {
    CHAINFS_ASSIGN(const Extent extent,
                   image.Map(GuestOffset(at), bytes.size() - at, MapDetail::kFast));
    const std::span<std::byte> out = std::span(bytes).subspan(at, extent.length);
    switch (extent.kind) {
      case ExtentKind::kData:
        CHAINFS_TRY(image.source(extent.source).ReadZeroFilled(extent.host, out));
        break;
      case ExtentKind::kCompressed: {
        CHAINFS_TRY(image.ReadCompressed(extent, cluster));
        std::ranges::copy(std::span(cluster).subspan(at % cluster.size(), out.size()), out.begin());
        break;
      }
      case ExtentKind::kUnallocated:
        if (below != nullptr) CHAINFS_TRY(below->ReadBelow(GuestOffset(at), out));
        break;
      case ExtentKind::kZero:
        break;
    }
    at += extent.length;
  }
  return bytes;
}

std::string Difference(std::span<const std::byte> expected, std::span<const std::byte> actual) {
  if (expected.size() != actual.size()) {
    return fmt::format("sizes differ: {} and {}", expected.size(), actual.size());
  }
  const auto [e, a] = std::ranges::mismatch(expected, actual);
  if (e == expected.end()) return "";
  return fmt::format("first difference at {:#x}: expected {:#04x}, got {:#04x}",
                     e - expected.begin(), static_cast<unsigned>(*e), static_cast<unsigned>(*a));
}

Status PopulateCompressed(WritableImage& image, GuestOffset offset,
                          std::span<const std::byte> data) {
  if (!image.compression()) return {};
  std::vector<std::vector<std::byte>> bytes;
  std::vector<CompressedCluster> clusters;
  bytes.reserve(data.size() / image.cluster_size() + 1);
  for (; !data.empty(); offset += image.cluster_size()) {
    const std::span<const std::byte> part =
        data.first(std::min<uint64_t>(data.size(), image.cluster_size()));
    data = data.subspan(part.size());
    std::vector<std::byte> cluster(part.begin(), part.end());
    cluster.resize(image.cluster_size());
    bytes.push_back(CompressForTest(*image.compression(), cluster));
    if (bytes.back().size() < cluster.size()) clusters.push_back({offset, bytes.back()});
  }
  return image.PopulateCompressed(clusters);
}

Status ImageModel::RandomOperation(Random& random, uint64_t scale) {
  const uint64_t size = expected_.size();
  const uint64_t sectors = size / 512;
  uint64_t offset = random.Below(sectors) * 512;
  uint64_t length = std::min(size - offset, (1 + random.Below(1 + 2 * scale / 512)) * 512);
  if (random.OneIn(4)) {  // whole clusters
    offset = RoundDown(offset, image_->cluster_size());
    length = std::min<uint64_t>(size - offset, RoundUp(length, image_->cluster_size()));
  }
  if (random.OneIn(10) && length > 1) {  // unaligned to sectors
    ++offset;
    --length;
  }
  const auto begin = expected_.begin() + static_cast<int64_t>(offset);
  const auto end = begin + static_cast<int64_t>(length);
  switch (random.Below(12)) {
    case 0:
    case 1: {
      std::fill(begin, end, std::byte{0});
      return image_->WriteZeroes(GuestOffset(offset), length, random.OneIn(2), below_);
    }
    case 2:
      return DoDiscard(offset, length);
    case 3:
      return RandomPopulate(random, offset, length);
    case 4:
      return image_->Flush();
    default: {
      std::vector<std::byte> data(length);
      random.Fill(data);
      std::ranges::copy(data, begin);
      return image_->Write(GuestOffset(offset), data, below_);
    }
  }
}

// Discard may leave parts as they were; the model takes over what the image then shows, provided
// that each byte is the old one or zero.
Status ImageModel::DoDiscard(uint64_t offset, uint64_t length) {
  CHAINFS_TRY(image_->Discard(GuestOffset(offset), length));
  CHAINFS_ASSIGN(const std::vector<std::byte> now, ReadWholeImage(*image_, below_));
  for (uint64_t i = offset; i < offset + length; ++i) {
    if (now[i] == expected_[i]) continue;
    if (now[i] != std::byte{0}) {
      return Fail(ErrorKind::kCorrupt, fmt::format("discard left a third value at {:#x}", i));
    }
    expected_[i] = std::byte{0};
  }
  return {};
}

// What a stream does: contents stay.
Status ImageModel::RandomPopulate(Random& random, uint64_t offset, uint64_t length) {
  const uint64_t begin = RoundDown(offset, image_->cluster_size());
  const uint64_t end =
      std::min<uint64_t>(expected_.size(), RoundUp(offset + length, image_->cluster_size()));
  std::vector<std::byte> data(end - begin);
  if (below_ != nullptr) CHAINFS_TRY(below_->ReadBelow(GuestOffset(begin), data));
  const bool zeros = std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
  if (zeros && random.OneIn(2)) return image_->PopulateZeroes(GuestOffset(begin), data.size());
  if (random.OneIn(3)) CHAINFS_TRY(PopulateCompressed(*image_, GuestOffset(begin), data));
  return image_->Populate(GuestOffset(begin), data);
}

std::string ImageModel::Verify() {
  const Result<std::vector<std::byte>> actual = ReadWholeImage(*image_, below_);
  if (!actual) return actual.error().message;
  return Difference(expected_, *actual);
}

}  // namespace chainfs
