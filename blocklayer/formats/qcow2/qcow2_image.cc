// SPDX-License-Identifier: Apache-2.0
//
// Opening, mapping and reading. Writing is in qcow2_write.cc and qcow2_zero.cc.
#include "blocklayer/formats/qcow2/qcow2_image.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/decompress.h"
#include "blocklayer/formats/qcow2/qcow2_image_impl.h"
#include "blocklayer/formats/qcow2/repair.h"

namespace chainfs {

Result<std::unique_ptr<WritableImage>> OpenQcow2Image(std::unique_ptr<File> file,
                                                      MetadataCache& cache,
                                                      const Qcow2OpenOptions& options) {
  CHAINFS_ASSIGN(Qcow2Header header, ReadQcow2Header(*file));
  const bool may_write = !options.read_only && file->writable();
  const bool dirty = (header.incompatible & kIncompatibleDirty) != 0;
  if (dirty && may_write && !header.read_only_reason && options.unrepaired) {
    header.read_only_reason = options.unrepaired;
  } else if (dirty && may_write && !header.read_only_reason) {
    CHAINFS_TRY(qcow2::RebuildRefcounts(*file));
    CHAINFS_ASSIGN(header, ReadQcow2Header(*file));
  }
  auto image =
      std::make_unique<qcow2::Qcow2Image>(std::move(file), cache, options, std::move(header));
  CHAINFS_TRY(image->Load());
  return image;
}

namespace qcow2 {

Qcow2Image::Qcow2Image(std::unique_ptr<File> file, MetadataCache& cache,
                       const Qcow2OpenOptions& options, Qcow2Header header)
    : file_(std::move(file)),
      cache_(cache),
      owner_(options.owner),
      compression_type_(header.compression_type),
      feature_reason_(header.read_only_reason.value_or(options.unrepaired.value_or(""))),
      opened_with_backing_(header.backing.has_value()),
      opened_read_only_(options.read_only || !file_->writable()),
      tables_(*file_, cache, options.owner, io_epoch_, std::move(header)) {}

Qcow2Image::~Qcow2Image() { cache_.DropOwner(owner_); }

Status Qcow2Image::Load() { return writable() ? tables_.inventory().LearnEarly() : Status(); }

bool Qcow2Image::writable() const {
  return !opened_read_only_ && feature_reason_.empty() && !tables_.corruption().found() &&
         !tables_.failed() && !closed_.load(std::memory_order_acquire);
}

std::string Qcow2Image::read_only_reason() const {
  if (!feature_reason_.empty()) return feature_reason_;
  if (opened_read_only_ && tables_.header().header().dirty()) {
    return "it was not closed cleanly; unmount, and repair it with: qemu-img check -r all";
  }
  if (opened_read_only_) return "it was opened for reading only";
  if (tables_.corruption().found()) return tables_.corruption().reason();
  if (tables_.failed()) return "an earlier flush failed; unmount, check it and mount again";
  if (closed_.load(std::memory_order_acquire)) return "it was closed";
  return "";
}

Status Qcow2Image::MakeWritable() {
  if (writable()) return {};
  const auto refuse = [&] {
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{}: cannot be written: {}", file_->path(), read_only_reason()));
  };
  const bool for_good = !feature_reason_.empty() || tables_.header().header().dirty() ||
                        tables_.corruption().found() || tables_.failed() ||
                        closed_.load(std::memory_order_acquire);
  if (for_good) return refuse();
  CHAINFS_TRY(file_->ReopenForWriting());
  CHAINFS_TRY(tables_.inventory().LearnEarly());
  opened_read_only_.store(false, std::memory_order_release);
  // Tables that lie on one another are found now, if the image is small.
  if (!writable()) return refuse();
  return {};
}

Result<uint64_t> Qcow2Image::AllocatedBytes() {
  CHAINFS_ASSIGN(const FileStat stat, file_->Stat());
  return stat.allocated_bytes;
}

Status Qcow2Image::CheckRange(GuestOffset offset, uint64_t length) const {
  const uint64_t size = virtual_size();
  if (offset.value <= size && length <= size - offset.value) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes)", file_->path(),
                          length, offset.value, size));
}

namespace {

// Table entries that one Map looks at: a longer extent comes in parts.
constexpr uint32_t kMaxMapSteps = 16384;

Extent ExtentOf(const ClusterMapping& mapping, uint64_t within, uint64_t length) {
  Extent extent;
  extent.length = length;
  switch (mapping.kind) {
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

}  // namespace

Result<Extent> Qcow2Image::Map(GuestOffset offset, uint64_t length, MapDetail /*detail*/) {
  CHAINFS_TRY(CheckRange(offset, length));
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
    const uint64_t piece = std::min(
        length, slice == nullptr ? slice_end - position.value : geometry.cluster_size() - within);
    const ClusterMapping mapping = tables_.l2().Decode(slice, position);
    if (mapping.kind == ClusterKind::kInvalid) {
      if (found) break;  // what comes before is sound
      CHAINFS_TRY(tables_.l2().Lookup(position));
      return Fail(ErrorKind::kCorrupt, fmt::format("{}: bad L2 entry", file_->path()));
    }
    const Extent next = ExtentOf(mapping, within, piece);
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

Status Qcow2Image::ReadCompressed(const Extent& extent, std::span<std::byte> out) {
  return ReadCompressedCluster(extent.host, extent.compressed_bytes, out);
}

Status Qcow2Image::ReadCompressedCluster(HostOffset host, uint32_t compressed_bytes,
                                         std::span<std::byte> out) {
  // The stored length is an upper bound and may pass the end of the file.
  thread_local std::vector<std::byte> compressed;
  compressed.resize(compressed_bytes);
  CHAINFS_ASSIGN(const size_t read, file_->ReadAt(host, compressed));
  Status status = DecompressCluster(compression_type_, std::span(compressed).first(read), out);
  if (!status) {
    // Data that cannot be decoded is as good as data that cannot be read; no table is wrong.
    Error error = WithContext(std::move(status).error(), file_->path());
    if (error.kind == ErrorKind::kCorrupt) error.kind = ErrorKind::kIo;
    return std::unexpected(std::move(error));
  }
  return {};
}

namespace {

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

Status Qcow2Image::ReadBefore(const ClusterMapping& mapping, GuestOffset offset,
                              std::span<std::byte> out, const BackingReader* below) {
  // Nothing shows past the end of this layer, even where the backing is longer.
  const uint64_t size = virtual_size();
  const uint64_t shown =
      offset.value >= size ? 0 : std::min<uint64_t>(out.size(), size - offset.value);
  std::ranges::fill(out.subspan(shown), std::byte{0});
  out = out.first(shown);
  if (out.empty()) return {};
  const uint64_t within = offset.Within(tables_.geometry().cluster_size());
  switch (mapping.kind) {
    case ClusterKind::kNormal:
      return file_->ReadZeroFilled(mapping.host + within, out);
    case ClusterKind::kCompressed: {
      std::vector<std::byte> cluster(tables_.geometry().cluster_size());
      CHAINFS_TRY(ReadCompressedCluster(mapping.host, mapping.compressed_bytes, cluster));
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

Status Qcow2Image::Flush() {
  if (tables_.failed()) return tables_.ledger().Commit();  // says why
  // An image that turned out to be corrupt keeps what it acknowledged before.
  if (closed_.load(std::memory_order_acquire) || opened_read_only_ || !feature_reason_.empty() ||
      (tables_.corruption().found() && !tables_.inventory().prepared())) {
    return {};
  }
  return tables_.ledger().Commit();
}

Status Qcow2Image::Close() {
  if (closed_.load(std::memory_order_acquire)) return {};
  Status status;
  if (tables_.inventory().prepared() && !tables_.failed()) {
    // Nothing of a corrupt image is freed.
    status = tables_.corruption().found() ? tables_.ledger().Commit()
                                          : tables_.ledger().CommitAndRelease();
  }
  closed_.store(true, std::memory_order_release);
  return status;
}

Status Qcow2Image::CanSetBacking(const std::optional<BackingReference>& backing) {
  return tables_.header().CanSetBacking(backing);
}

Status Qcow2Image::SetBacking(const std::optional<BackingReference>& backing) {
  CHAINFS_TRY(PrepareToChange());
  return tables_.header().SetBacking(backing);
}

}  // namespace qcow2
}  // namespace chainfs
