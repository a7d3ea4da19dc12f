// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/opened_image.h"

#include <fmt/format.h>

#include <utility>

namespace chainfs::qcow2 {

OpenedImage::OpenedImage(std::unique_ptr<File> file, MetadataCache& cache,
                         const ImageOpenOptions& options, const Qcow2Header& header,
                         SnapshotList snapshots)
    : file_(std::move(file)),
      cache_(cache),
      owner_(options.owner),
      feature_reason_(header.read_only_reason.value_or(options.unrepaired.value_or(""))),
      compression_(header.compression_type == kCompressionZstd ? ImageCompression::kZstd
                                                               : ImageCompression::kZlib),
      snapshots_(std::move(snapshots)),
      opened_read_only_(options.read_only || !file_->writable()),
      tables_(*file_, cache, options.owner, io_epoch_, header),
      reader_(*file_, tables_, header.compression_type),
      compressed_populator_(*file_, tables_, populator_, range_lock_, header.compression_type),
      zeroer_(tables_, writer_, range_lock_, header.backing.has_value()) {}

OpenedImage::~OpenedImage() { cache_.DropOwner(owner_); }

bool OpenedImage::writable() const {
  return !opened_read_only_ && feature_reason_.empty() && !tables_.corruption().found() &&
         !tables_.failed() && !closed();
}

std::string OpenedImage::read_only_reason() const {
  if (!feature_reason_.empty()) return feature_reason_;
  if (opened_read_only_ && tables_.header().header().dirty()) {
    return "it was not closed cleanly; unmount, and repair it with: qemu-img check -r all";
  }
  if (opened_read_only_) return "it was opened for reading only";
  if (tables_.corruption().found()) return tables_.corruption().reason();
  if (tables_.failed()) return "an earlier flush failed; unmount, check it and mount again";
  if (closed()) return "it was closed";
  return "";
}

Status OpenedImage::MakeWritable() {
  if (writable()) return {};
  const auto refuse = [&] {
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{}: cannot be written: {}", file_->path(), read_only_reason()));
  };
  const bool for_good = !feature_reason_.empty() || tables_.header().header().dirty() ||
                        tables_.corruption().found() || tables_.failed() || closed();
  if (for_good) return refuse();
  CHAINFS_TRY(file_->ReopenForWriting());
  CHAINFS_TRY(tables_.inventory().LearnEarly());
  opened_read_only_.store(false, std::memory_order_release);
  // Tables that lie on one another are found now, if the image is small.
  if (!writable()) return refuse();
  return {};
}

Result<uint64_t> OpenedImage::AllocatedBytes() {
  CHAINFS_ASSIGN(const FileStat stat, file_->Stat());
  return stat.allocated_bytes;
}

Status OpenedImage::CheckRange(GuestOffset offset, uint64_t length) const {
  const uint64_t size = virtual_size();
  if (offset.value <= size && length <= size - offset.value) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes)", file_->path(),
                          length, offset.value, size));
}

Status OpenedImage::PrepareToChange() {
  Status prepared;
  if (writable()) prepared = tables_.inventory().PrepareForWriting();
  // Tables that lie on one another are found then, at the latest.
  if (!writable()) {
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{}: cannot be written: {}", file_->path(), read_only_reason()));
  }
  return prepared;
}

Status OpenedImage::PrepareWholeClusters(GuestOffset offset, uint64_t length,
                                         std::string_view done) {
  CHAINFS_TRY(CheckRange(offset, length));
  const uint64_t end = offset.value + length;
  if (offset.Within(cluster_size()) != 0 || (end % cluster_size() != 0 && end != virtual_size())) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("only whole clusters can be {}", done));
  }
  return PrepareToChange();
}

Status OpenedImage::Finish(Status status) {
  if (!status && status.error().kind == ErrorKind::kCorrupt) {
    tables_.MarkCorrupt(status.error().message);
  }
  return status;
}

Status OpenedImage::FinishAndCommit(Status status) {
  CHAINFS_TRY(Finish(std::move(status)));
  return tables_.ledger().CommitIfMuchIsPending();
}

Result<Extent> OpenedImage::Map(GuestOffset offset, uint64_t length, MapDetail /*detail*/) {
  CHAINFS_TRY(CheckRange(offset, length));
  return reader_.Map(offset, length);
}

Status OpenedImage::Write(GuestOffset offset, std::span<const std::byte> data,
                          const BackingReader* below) {
  CHAINFS_TRY(CheckRange(offset, data.size()));
  CHAINFS_TRY(PrepareToRecord());
  const BitmapRecorder::Change change(tables_.bitmaps().recorder(), offset, data.size());
  return FinishAndCommit(writer_.Write(offset, data, below));
}

Status OpenedImage::WriteFromFile(GuestOffset offset, uint64_t length, File& source,
                                  HostOffset source_offset) {
  CHAINFS_TRY(PrepareWholeClusters(offset, length, "taken from a file"));
  CHAINFS_TRY(tables_.bitmaps().Begin());
  const BitmapRecorder::Change change(tables_.bitmaps().recorder(), offset, length);
  return FinishAndCommit(writer_.WriteFromFile(offset, length, source, source_offset));
}

Status OpenedImage::WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                                const BackingReader* below) {
  CHAINFS_TRY(CheckRange(offset, length));
  if (length == 0) return {};
  CHAINFS_TRY(PrepareToRecord());
  const BitmapRecorder::Change change(tables_.bitmaps().recorder(), offset, length);
  return Finish(zeroer_.WriteZeroes(offset, length, keep_allocated, below));
}

Status OpenedImage::Discard(GuestOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckRange(offset, length));
  CHAINFS_TRY(PrepareToRecord());
  const BitmapRecorder::Change change(tables_.bitmaps().recorder(), offset, length);
  return Finish(zeroer_.Discard(offset, length));
}

Status OpenedImage::Populate(GuestOffset offset, std::span<const std::byte> data) {
  CHAINFS_TRY(PrepareWholeClusters(offset, data.size(), "populated"));
  return FinishAndCommit(populator_.Populate(offset, data));
}

Status OpenedImage::PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                                     HostOffset source_offset) {
  CHAINFS_TRY(PrepareWholeClusters(offset, length, "populated"));
  return FinishAndCommit(populator_.PopulateFromFile(offset, length, source, source_offset));
}

Status OpenedImage::PopulateCompressed(std::span<const CompressedCluster> clusters) {
  if (clusters.empty()) return {};
  // A commit brings new contents this way; a stream does not, but is recorded, too.
  CHAINFS_TRY(PrepareToRecord());
  const GuestOffset begin = clusters.front().offset;
  const BitmapRecorder::Change change(tables_.bitmaps().recorder(), begin,
                                      clusters.back().offset - begin + cluster_size());
  return FinishAndCommit(compressed_populator_.Populate(clusters));
}

Status OpenedImage::Unpopulate(GuestOffset offset, uint64_t length) {
  CHAINFS_TRY(PrepareWholeClusters(offset, length, "unpopulated"));
  return Finish(populator_.Unpopulate(offset, length));
}

Status OpenedImage::Flush() {
  if (tables_.failed()) return tables_.ledger().Commit();  // says why
  // An image that turned out to be corrupt keeps what it acknowledged before.
  if (closed() || opened_read_only_ || !feature_reason_.empty() ||
      (tables_.corruption().found() && !tables_.inventory().prepared())) {
    return {};
  }
  return tables_.ledger().Commit();
}

Status OpenedImage::Close() {
  if (closed()) return {};
  Status status;
  if (tables_.inventory().prepared() && !tables_.failed()) {
    // Nothing of a corrupt image is freed, and its bitmaps stay as a crash would leave them.
    if (tables_.corruption().found()) {
      status = tables_.ledger().Commit();
    } else {
      status = tables_.bitmaps().Store();
      Status released = tables_.ledger().CommitAndRelease();
      if (status) status = std::move(released);
    }
  }
  closed_.store(true, std::memory_order_release);
  return status;
}

Status OpenedImage::SetBacking(const std::optional<BackingReference>& backing) {
  CHAINFS_TRY(PrepareToChange());
  return tables_.header().SetBacking(backing);
}

Status OpenedImage::Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) {
  CHAINFS_TRY(CheckNewSize(new_size, virtual_size(), UINT64_MAX));
  CHAINFS_TRY(snapshots_.CheckResizable(file_->path()));
  CHAINFS_TRY(PrepareToRecord());
  CHAINFS_TRY(tables_.bitmaps().PrepareToResize());
  Status grown = Finish(size_changer_.Grow(new_size, below, backing_size));
  tables_.bitmaps().Resized(virtual_size());
  return grown;
}

Status OpenedImage::Shrink(uint64_t new_size) {
  CHAINFS_TRY(CheckNewSize(new_size, 0, virtual_size()));
  CHAINFS_TRY(snapshots_.CheckResizable(file_->path()));
  CHAINFS_TRY(PrepareToRecord());
  CHAINFS_TRY(tables_.bitmaps().PrepareToResize());
  Status shrunk = Finish(size_changer_.Shrink(new_size));
  tables_.bitmaps().Resized(virtual_size());
  return shrunk;
}

}  // namespace chainfs::qcow2
