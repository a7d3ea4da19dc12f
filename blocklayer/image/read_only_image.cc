// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/read_only_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace chainfs {
namespace {

constexpr uint64_t kHoleUnit = 512;
constexpr int kMostBlocks = 512;  // of one extent, so that mapping a hostile image ends soon

bool Continues(const Extent& first, const Extent& next) {
  if (next.kind != first.kind || next.kind == ExtentKind::kCompressed) return false;
  if (next.kind != ExtentKind::kData) return true;
  return next.source == first.source && next.host == first.host + first.length;
}

}  // namespace

ReadOnlyImage::ReadOnlyImage(ImageFormat format, std::unique_ptr<File> file, uint64_t virtual_size,
                             uint32_t cluster_size)
    : format_(format),
      file_(std::move(file)),
      virtual_size_(virtual_size),
      cluster_size_(std::min(cluster_size, kLargestCluster)) {}

Result<uint64_t> ReadOnlyImage::AllocatedBytes() {
  CHAINFS_ASSIGN(const FileStat stat, file_->Stat());
  return stat.allocated_bytes;
}

Result<Extent> ReadOnlyImage::Map(GuestOffset offset, uint64_t length, MapDetail detail) {
  if (offset.value > virtual_size_ || length > virtual_size_ - offset.value || length == 0) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes)", file_->path(),
                            length, offset.value, virtual_size_));
  }
  CHAINFS_ASSIGN(Extent extent, MapBlock(offset, length));
  for (int blocks = 1; blocks < kMostBlocks && extent.length < length; ++blocks) {
    const Result<Extent> next = MapBlock(offset + extent.length, length - extent.length);
    // What is wrong there is told to whoever asks for it.
    if (!next || !Continues(extent, *next)) break;
    extent.length += next->length;
  }
  if (detail == MapDetail::kPrecise && extent.kind == ExtentKind::kData) {
    CHAINFS_TRY(CutAtHole(extent));
  }
  return extent;
}

Status ReadOnlyImage::CutAtHole(Extent& extent) {
  File* const host = source(extent.source).host_file();
  if (host == nullptr) return {};
  CHAINFS_ASSIGN(const DataRun run, host->RunAt(extent.host));
  if (run.is_data) {
    const uint64_t rounded = RoundUp(std::min(run.length, extent.length), kHoleUnit);
    extent.length = std::min(extent.length, rounded);
    return {};
  }
  const uint64_t hole =
      run.length >= extent.length ? extent.length : RoundDown(run.length, kHoleUnit);
  // A sector that is partly data is data.
  if (hole == 0) {
    extent.length = std::min(extent.length, kHoleUnit);
    return {};
  }
  extent = {.kind = ExtentKind::kZero, .length = hole};
  return {};
}

}  // namespace chainfs
