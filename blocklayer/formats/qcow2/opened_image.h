// SPDX-License-Identifier: Apache-2.0
//
// OpenedImage: a qcow2 file as an Image. It says whether the image may be changed, checks what it
// is asked, and marks the image corrupt when a change meets broken tables; the parts do the work.
//
// Locks: range_lock_ (everything that links or dereferences; held across its I/O), then those of
// the tables (README.md). All I/O at mapped host offsets is done under an IoEpoch guard.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/formats/qcow2/cluster_populator.h"
#include "blocklayer/formats/qcow2/cluster_reader.h"
#include "blocklayer/formats/qcow2/cluster_writer.h"
#include "blocklayer/formats/qcow2/cluster_zeroer.h"
#include "blocklayer/formats/qcow2/compressed_populator.h"
#include "blocklayer/formats/qcow2/data_file_space.h"
#include "blocklayer/formats/qcow2/image_files.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/qcow2/size_changer.h"
#include "blocklayer/formats/qcow2/snapshot_image.h"
#include "blocklayer/formats/qcow2/snapshot_list.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs::qcow2 {

class OpenedImage final : public WritableImage {
 public:
  OpenedImage(ImageFiles files, MetadataCache& cache, const ImageOpenOptions& options,
              const Qcow2Header& header, SnapshotList snapshots);
  ~OpenedImage() override;
  // Before anything else.
  Status Load() { return writable() ? tables_.inventory().LearnEarly() : Status(); }

  ImageFormat format() const override { return ImageFormat::kQcow2; }
  File& file() override { return files_.image(); }
  uint16_t source_count() const override { return files_.has_data_file() ? 2 : 1; }
  Status SetImageLocks(const ImageLockSet& locks) override { return files_.SetLocks(locks); }
  uint64_t virtual_size() const override { return tables_.header().virtual_size(); }
  uint32_t cluster_size() const override {
    return static_cast<uint32_t>(tables_.geometry().cluster_size());
  }
  bool writable() const override;
  std::string read_only_reason() const override;
  Status MakeWritable() override;
  std::optional<BackingReference> backing() const override { return tables_.header().backing(); }
  std::optional<ImageCompression> compression() const override { return compression_; }
  bool has_subclusters() const override { return tables_.geometry().extended_l2; }
  const ImageSnapshots& snapshots() const override { return snapshots_.shown(); }
  Result<std::unique_ptr<Image>> OpenSnapshot(size_t index, uint64_t owner) override {
    return qcow2::OpenSnapshot(files_.image(), cache_, owner, snapshots_, index);
  }
  Result<std::vector<BitmapInfo>> Bitmaps() override { return tables_.bitmaps().List(); }
  Result<uint64_t> AllocatedBytes() override { return files_.AllocatedBytes(); }

  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) override;
  Status ReadCompressed(const Extent& extent, std::span<std::byte> out) override {
    return reader_.ReadCompressed(extent.host, extent.compressed_bytes, out);
  }

  Status Write(GuestOffset offset, std::span<const std::byte> data,
               const BackingReader* below) override;
  Status WriteFromFile(GuestOffset offset, uint64_t length, File& source,
                       HostOffset source_offset) override;
  Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                     const BackingReader* below) override;
  Status Discard(GuestOffset offset, uint64_t length) override;

  Status Populate(GuestOffset offset, std::span<const std::byte> data) override;
  Status PopulateZeroes(GuestOffset offset, uint64_t length) override {
    CHAINFS_TRY(PrepareWholeClusters(offset, length, "populated"));
    return FinishAndCommit(populator_.PopulateZeroes(offset, length));
  }
  Status PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                          HostOffset source_offset) override;
  Status PopulateCompressed(std::span<const CompressedCluster> clusters) override;
  Status Unpopulate(GuestOffset offset, uint64_t length) override;

  Status Flush() override;
  bool HasPending() override { return tables_.ledger().HasPending(); }
  Status Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) override;
  Status Shrink(uint64_t new_size) override;
  Status CanSetBacking(const std::optional<BackingReference>& backing) override;
  Status SetBacking(const std::optional<BackingReference>& backing) override;
  Status ChangeBitmap(const BitmapChange& change) override {
    CHAINFS_TRY(PrepareToRecord());
    return Finish(tables_.bitmaps().Change(change));
  }
  Status Rest() override {
    if (!writable() || !tables_.inventory().prepared()) return {};
    return Finish(tables_.bitmaps().Store());
  }
  Status Close() override;

 protected:
  ByteSource& FurtherSource(uint16_t /*number*/) override { return files_.data(); }

 private:
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  Status CheckRange(GuestOffset offset, uint64_t length) const;
  Status PrepareToChange();
  // The same for what changes the contents of the disk, so that bitmaps must record it.
  Status PrepareToRecord() {
    CHAINFS_TRY(PrepareToChange());
    return tables_.bitmaps().Begin();
  }
  // The same for a range of whole clusters; "only whole clusters can be `done`" where it is none.
  Status PrepareWholeClusters(GuestOffset offset, uint64_t length, std::string_view done);
  // Marks the image corrupt where the error says so. Nothing but broken metadata of this very image
  // gives kCorrupt here: what lies below or cannot be decoded fails its request alone.
  Status Finish(Status status);
  // The same after something that many may do in a row.
  Status FinishAndCommit(Status status);

  // Constant after construction.
  ImageFiles files_;
  MetadataCache& cache_;
  const uint64_t owner_;
  const std::string feature_reason_;  // a feature that permits reading only
  const std::optional<ImageCompression> compression_;
  const SnapshotList snapshots_;
  const bool raw_data_file_;

  // Own synchronization.
  std::atomic<bool> opened_read_only_;
  std::atomic<bool> closed_ = false;
  ImageTables tables_;
  RangeLock range_lock_;
  ClusterReader reader_;
  ClusterWriter writer_{files_.data(), tables_, reader_, range_lock_, io_epoch_};
  ClusterPopulator populator_{files_.data(), tables_, range_lock_, io_epoch_};
  CompressedPopulator compressed_populator_;
  ClusterZeroer zeroer_;
  DataFileSpace data_file_{files_.data(), raw_data_file_, tables_, range_lock_, io_epoch_};
  SizeChanger size_changer_;
};

}  // namespace chainfs::qcow2
