// SPDX-License-Identifier: Apache-2.0
//
// Qcow2Image: a qcow2 file as an Image. Mapping and tables live in Metadata; this class moves data
// and decides, cluster by cluster, whether a write goes in place or needs a new cluster.
//
// Writing, cluster by cluster:
//   in place    the cluster is linked, unshared (COPIED) and plain: one pwrite, no lock
//   reuse       it reads as zeros but keeps a host cluster: fill all of it, then clear the zero
//   flag allocate    anything else: a new cluster is filled completely (what the guest does not
//   write comes
//               from what the cluster showed before), then linked; the old one is dereferenced
// Filling comes before linking, and linking reaches the disk only after a sync (metadata.h).
//
// Locks: range_lock_ (everything that links or dereferences; held across its I/O), then Metadata's.
// All I/O at mapped host offsets is done under an IoEpoch guard.
//
// It does not write compressed clusters, and never frees L2 tables.
#pragma once

#include <memory>
#include <string>

#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs::qcow2 {

class Qcow2Image final : public WritableImage {
 public:
  Qcow2Image(std::unique_ptr<File> file, MetadataCache& cache, const Qcow2OpenOptions& options,
             Qcow2Header header);
  ~Qcow2Image() override;
  Status Load();

  ImageFormat format() const override { return ImageFormat::kQcow2; }
  File& file() override { return *file_; }
  uint64_t virtual_size() const override { return tables_.header().virtual_size(); }
  uint32_t cluster_size() const override {
    return static_cast<uint32_t>(tables_.geometry().cluster_size());
  }
  bool writable() const override;
  std::string read_only_reason() const override;
  Status MakeWritable() override;
  std::optional<BackingReference> backing() const override { return tables_.header().backing(); }
  Result<uint64_t> AllocatedBytes() override;

  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) override;
  Status ReadCompressed(const Extent& extent, std::span<std::byte> out) override;

  Status Write(GuestOffset offset, std::span<const std::byte> data,
               const BackingReader* below) override;
  Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                     const BackingReader* below) override;
  Status Discard(GuestOffset offset, uint64_t length) override;

  Status Populate(GuestOffset offset, std::span<const std::byte> data) override;
  Status PopulateZeroes(GuestOffset offset, uint64_t length) override;
  Status PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                          HostOffset source_offset) override;

  Status Flush() override;
  bool HasPending() override { return tables_.ledger().HasPending(); }
  Status Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) override;
  Status CanSetBacking(const std::optional<BackingReference>& backing) override;
  Status SetBacking(const std::optional<BackingReference>& backing) override;
  Status Close() override;

 private:
  // What the guest bytes [offset, offset + length) show, for one cluster's mapping.
  Status ReadBefore(const ClusterMapping& mapping, GuestOffset offset, std::span<std::byte> out,
                    const BackingReader* below);
  Status ReadCompressedCluster(HostOffset host, uint32_t compressed_bytes,
                               std::span<std::byte> out);

  // qcow2_write.cc
  Status PrepareToChange();
  // Marks the image corrupt where the error says so. Nothing but broken metadata of this very image
  // gives kCorrupt here: what lies below or cannot be decoded fails its request alone.
  Status Finish(Status status);
  Status CommitIfMuchIsDirty();
  // Bytes from `offset` on, at most `length`, that lie in one run of in-place clusters; 0: none.
  struct InPlaceRun {
    uint64_t length = 0;
    HostOffset host;
  };
  Result<InPlaceRun> FindInPlace(GuestOffset offset, uint64_t length);
  // Everything that links: `offset`.. lies in clusters under the range lock. Writes at least one
  // cluster's share and returns the bytes done.
  Result<uint64_t> WriteLinking(GuestOffset offset, std::span<const std::byte> data,
                                const BackingReader* below);
  Status FillClusters(GuestOffset offset, std::span<const std::byte> data, HostOffset host,
                      uint64_t clusters, bool beyond_file, const ClusterMapping& first_before,
                      const ClusterMapping& last_before, const BackingReader* below);
  Status WriteRange(GuestOffset offset, std::span<const std::byte> data,
                    const BackingReader* below);
  // Under the range lock, calls `populate(index, clusters)` for each run of unallocated clusters,
  // counted from `offset`; it returns how many it has done.
  template <typename PopulateRun>
  Status ForUnallocated(GuestOffset offset, uint64_t length, const PopulateRun& populate);
  // Fills `bytes` bytes at `host`, which belong `skip` bytes after the start of the range.
  using FillRun = std::function<Status(uint64_t skip, uint64_t bytes, HostOffset host)>;
  Status PopulateRuns(GuestOffset offset, uint64_t length, const FillRun& fill);

  // qcow2_zero.cc
  enum class ZeroWish : uint8_t { kKeepAllocated, kGiveBack };
  // Whether something may shine through an unallocated cluster. When a stream has ended, whoever
  // reads goes on with the old list of layers for a moment: in version 3 all that shows through it
  // are zeros by then, but version 2 has no other way to zero an allocated cluster than to make it
  // unallocated, and what it was copied from would show again.
  bool HasBelow() const {
    return tables_.header().backing().has_value() ||
           (opened_with_backing_ && tables_.geometry().version < 3);
  }
  Status ZeroClusters(GuestOffset first, uint64_t clusters, ZeroWish wish);
  Status ZeroWholeClusters(GuestOffset first, uint64_t clusters, ZeroWish wish);
  Status ZeroPartial(GuestOffset offset, uint64_t length, const BackingReader* below);
  Status WriteZeroBytes(GuestOffset offset, uint64_t length, const BackingReader* below);
  Status ZeroRange(GuestOffset offset, uint64_t length, ZeroWish wish, const BackingReader* below);
  Status CheckRange(GuestOffset offset, uint64_t length) const;

  // Constant after construction.
  const std::unique_ptr<File> file_;
  MetadataCache& cache_;
  const uint64_t owner_;
  const uint8_t compression_type_;
  const std::string feature_reason_;  // a feature that permits reading only
  const bool opened_with_backing_;

  // Own synchronization.
  std::atomic<bool> opened_read_only_;
  ImageTables tables_;
  RangeLock range_lock_;
  std::atomic<bool> closed_ = false;
};

}  // namespace chainfs::qcow2
