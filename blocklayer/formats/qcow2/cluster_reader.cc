// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "blocklayer/formats/qcow2/decompress.h"

namespace chainfs::qcow2 {
namespace {

// Table entries that one Map looks at: a longer extent comes in parts.
constexpr uint32_t kMaxMapSteps = 16384;

// `kind`: of the part, where not all of the cluster is alike.
Extent ExtentOf(const ClusterMapping& mapping, ClusterKind kind, uint64_t within, uint64_t length) {
  Extent extent;
  extent.length = length;
  switch (kind) {
    case ClusterKind::kNormal:
      extent.kind = ExtentKind::kData;
      extent.host = mapping.host + within;
      break;
    case ClusterKind::kCompressed:
      extent.kind = ExtentKind::kCompressed;
      extent.host = mapping.host;
      extent.compressed_bytes = mapping.compressed_bytes;
      break;
    case ClusterKind::kZeroPlain:
    case ClusterKind::kZeroAllocated:
      extent.kind = ExtentKind::kZero;
      break;
    default:
      extent.kind = ExtentKind::kUnallocated;
  }
  return extent;
}

// What is broken in another image fails this request, and says nothing of this image.
Status ReadFromBelow(const BackingReader& below, GuestOffset offset, std::span<std::byte> out) {
  Status status = below.ReadBelow(offset, out);
  if (!status && status.error().kind == ErrorKind::kCorrupt) {
    Error error = std::move(status).error();
    error.kind = ErrorKind::kIo;
    return std::unexpected(std::move(error));
  }
  return status;
}

}  // namespace

Result<Extent> ClusterReader::Map(GuestOffset offset, uint64_t length) const {
  const Geometry& geometry = tables_.geometry();
  const uint64_t slice_span = geometry.l2_slice_span();
  std::optional<Extent> found;
  GuestOffset position = offset;
  SlicePtr slice;
  uint64_t slice_end = 0;  // guest bytes up to which `slice` serves
  for (uint32_t steps = 0; length > 0 && steps < kMaxMapSteps; ++steps) {
    if (position.value >= slice_end) {
      CHAINFS_ASSIGN(slice, tables_.l2().Slice(position));
      if (slice == nullptr) {
        CHAINFS_ASSIGN(const uint64_t empty, tables_.l1().BytesWithoutL2(position));
        slice_end = position.value + empty;
      } else {
        slice_end = position.AlignDown(slice_span).value + slice_span;
      }
    }
    const uint64_t within = position.Within(geometry.cluster_size());
    const ClusterMapping mapping = tables_.l2().Decode(slice, position);
    const Part part = PartAt(mapping, within);
    const uint64_t piece =
        std::min(length, slice == nullptr ? slice_end - position.value : part.length);
    if (mapping.kind == ClusterKind::kInvalid) {
      if (found) break;  // what comes before is sound
      CHAINFS_TRY(tables_.l2().Lookup(position));
      return Fail(ErrorKind::kCorrupt, fmt::format("{}: bad L2 entry", file_.path()));
    }
    Extent next = ExtentOf(mapping, part.kind, within, piece);
    if (next.kind == ExtentKind::kData) next.source = data_source_;
    if (!found) {
      found = next;
      if (next.kind == ExtentKind::kCompressed) break;
    } else {
      const bool continues = next.kind == found->kind && (next.kind != ExtentKind::kData ||
                                                          next.host == found->host + found->length);
      if (!continues) break;
      found->length += piece;
    }
    position += piece;
    length -= piece;
  }
  return *found;
}

Status ClusterReader::ReadCompressed(HostOffset host, uint32_t compressed_bytes,
                                     std::span<std::byte> out) const {
  // The stored length is an upper bound and may pass the end of the file.
  thread_local std::vector<std::byte> compressed;
  compressed.resize(compressed_bytes);
  CHAINFS_ASSIGN(const size_t read, file_.ReadAt(host, compressed));
  Status status = DecompressCluster(compression_type_, std::span(compressed).first(read), out);
  if (!status) {
    // Data that cannot be decoded is as good as data that cannot be read; no table is wrong.
    Error error = WithContext(std::move(status).error(), file_.path());
    if (error.kind == ErrorKind::kCorrupt) error.kind = ErrorKind::kIo;
    return std::unexpected(std::move(error));
  }
  return {};
}

ClusterReader::Part ClusterReader::PartAt(const ClusterMapping& mapping, uint64_t within) const {
  const Geometry& geometry = tables_.geometry();
  if (mapping.kind != ClusterKind::kMixed) {
    return {.kind = mapping.kind, .length = geometry.cluster_size() - within};
  }
  const auto subcluster = static_cast<uint32_t>(within / geometry.subcluster_size());
  const uint64_t end = subcluster + mapping.AlikeFrom(subcluster);
  return {.kind = mapping.KindOf(subcluster), .length = end * geometry.subcluster_size() - within};
}

Status ClusterReader::ReadBefore(const ClusterMapping& mapping, GuestOffset offset,
                                 std::span<std::byte> out, const BackingReader* below) const {
  // Nothing shows past the end of this layer, even where the backing is longer.
  const uint64_t size = tables_.header().virtual_size();
  const uint64_t shown =
      offset.value >= size ? 0 : std::min<uint64_t>(out.size(), size - offset.value);
  std::ranges::fill(out.subspan(shown), std::byte{0});
  out = out.first(shown);
  while (!out.empty()) {
    const Part part = PartAt(mapping, offset.Within(tables_.geometry().cluster_size()));
    const uint64_t length = std::min<uint64_t>(part.length, out.size());
    CHAINFS_TRY(ReadPart(mapping, part.kind, offset, out.first(length), below));
    offset += length;
    out = out.subspan(length);
  }
  return {};
}

Status ClusterReader::ReadPart(const ClusterMapping& mapping, ClusterKind kind, GuestOffset offset,
                               std::span<std::byte> out, const BackingReader* below) const {
  const uint64_t within = offset.Within(tables_.geometry().cluster_size());
  switch (kind) {
    case ClusterKind::kNormal:
      return file_.ReadZeroFilled(mapping.host + within, out);
    case ClusterKind::kCompressed: {
      std::vector<std::byte> cluster(tables_.geometry().cluster_size());
      CHAINFS_TRY(ReadCompressed(mapping.host, mapping.compressed_bytes, cluster));
      std::ranges::copy(std::span(cluster).subspan(within, out.size()), out.begin());
      return {};
    }
    case ClusterKind::kUnallocated:
      if (below != nullptr) return ReadFromBelow(*below, offset, out);
      [[fallthrough]];
    default:
      std::ranges::fill(out, std::byte{0});
      return {};
  }
}

}  // namespace chainfs::qcow2
