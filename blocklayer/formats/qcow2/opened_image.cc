// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/opened_image.h"

#include <fmt/format.h>

#include <utility>

namespace chainfs::qcow2 {
namespace {

std::optional<ImageCompression> CompressionOf(const Qcow2Header& header) {
  if (header.has_data_file()) return std::nullopt;
  return header.compression_type == kCompressionZstd ? ImageCompression::kZstd
                                                     : ImageCompression::kZlib;
}

}  // namespace

OpenedImage::OpenedImage(ImageFiles files, MetadataCache& cache, const ImageOpenOptions& options,
                         const Qcow2Header& header, SnapshotList snapshots)
    : files_(std::move(files)),
      cache_(cache),
      owner_(options.owner),
      feature_reason_(header.read_only_reason.value_or(options.unrepaired.value_or(""))),
      compression_(CompressionOf(header)),
      snapshots_(std::move(snapshots)),
      raw_data_file_(header.has_raw_data_file()),
      opened_read_only_(options.read_only || !files_.writable()),
      tables_(files_.image(), files_.data(), cache, options.owner, io_epoch_, header),
      reader_(files_.data(), tables_, header.compression_type, files_.has_data_file() ? 1 : 0),
      compressed_populator_(files_.image(), tables_, populator_, range_lock_,
                            header.compression_type),
      zeroer_(tables_, writer_, range_lock_, header.backing.has_value()),
      size_changer_(tables_, populator_, zeroer_, files_.has_data_file() ? &data_file_ : nullptr) {}

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
    return Fail(ErrorKind::kReadOnly, fmt::format("{}: cannot be written: {}",
                                                  files_.image().path(), read_only_reason()));
  };
  const bool for_good = !feature_reason_.empty() || tables_.header().header().dirty() ||
                        tables_.corruption().found() || tables_.failed() || closed();
  if (for_good) return refuse();
  CHAINFS_TRY(files_.ReopenForWriting());
  CHAINFS_TRY(tables_.inventory().LearnEarly());
  opened_read_only_.store(false, std::memory_order_release);
  // Tables that lie on one another are found now, if the image is small.
  if (!writable()) return refuse();
  return {};
}

Status OpenedImage::CheckRange(GuestOffset offset, uint64_t length) const {
  const uint64_t size = virtual_size();
  if (offset.value <= size && length <= size - offset.value) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes)",
                          files_.image().path(), length, offset.value, size));
}

Status OpenedImage::PrepareToChange() {
  Status prepared;
  if (writable()) prepared = tables_.inventory().PrepareForWriting();
  // Tables that lie on one another are found then, at the latest.
  if (!writable()) {
    return Fail(ErrorKind::kReadOnly, fmt::format("{}: cannot be written: {}",
                                                  files_.image().path(), read_only_reason()));
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
  if (raw_data_file_) return data_file_.Zero(offset, length, keep_allocated);
  return Finish(zeroer_.WriteZeroes(offset, length, keep_allocated, below));
}

Status OpenedImage::Discard(GuestOffset offset, uint64_t length) {
  CHAINFS_TRY(CheckRange(offset, length));
  CHAINFS_TRY(PrepareToRecord());
  const BitmapRecorder::Change change(tables_.bitmaps().recorder(), offset, length);
  if (raw_data_file_) return data_file_.Discard(offset, length);
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
  if (!compression_) return WritableImage::PopulateCompressed(clusters);
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
  CHAINFS_TRY(tables_.ledger().Commit());
  if (files_.has_data_file()) data_file_.GiveBack();
  return {};
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
    for (int i = 0; status && files_.has_data_file() && i < 3; ++i) data_file_.GiveBack();
  }
  closed_.store(true, std::memory_order_release);
  return status;
}

Status OpenedImage::CanSetBacking(const std::optional<BackingReference>& backing) {
  if (backing && raw_data_file_) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: has a raw external data file, which shows all of the disk by "
                            "itself, so it cannot have a backing file",
                            files_.image().path()));
  }
  return tables_.header().CanSetBacking(backing);
}

Status OpenedImage::SetBacking(const std::optional<BackingReference>& backing) {
  CHAINFS_TRY(PrepareToChange());
  CHAINFS_TRY(CanSetBacking(backing));
  return tables_.header().SetBacking(backing);
}

Status OpenedImage::Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) {
  CHAINFS_TRY(CheckNewSize(new_size, virtual_size(), UINT64_MAX));
  CHAINFS_TRY(snapshots_.CheckResizable(files_.image().path()));
  CHAINFS_TRY(PrepareToRecord());
  CHAINFS_TRY(tables_.bitmaps().PrepareToResize());
  Status grown = Finish(size_changer_.Grow(new_size, below, backing_size));
  tables_.bitmaps().Resized(virtual_size());
  return grown;
}

Status OpenedImage::Shrink(uint64_t new_size) {
  CHAINFS_TRY(CheckNewSize(new_size, 0, virtual_size()));
  CHAINFS_TRY(snapshots_.CheckResizable(files_.image().path()));
  CHAINFS_TRY(PrepareToRecord());
  CHAINFS_TRY(tables_.bitmaps().PrepareToResize());
  Status shrunk = Finish(size_changer_.Shrink(new_size));
  tables_.bitmaps().Resized(virtual_size());
  return shrunk;
}

}  // namespace chainfs::qcow2
