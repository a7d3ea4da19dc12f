// SPDX-License-Identifier: Apache-2.0
//
// SnapshotImage: an internal snapshot as an image of its own, which is only read: its own L1 table
// and its own size, in the file and over the backing file of the image that it belongs to. What a
// snapshot names is never changed or given up while the image is open, so its readers need not know
// of writers of the disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blocklayer/formats/qcow2/cluster_reader.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/formats/qcow2/snapshot_list.h"
#include "blocklayer/image/image.h"

namespace chainfs::qcow2 {

class SnapshotImage final : public Image {
 public:
  // `file` and `cache` must outlive this. `header`: SnapshotList::HeaderOf; `owner`: its own key in
  // `cache`.
  SnapshotImage(File& file, MetadataCache& cache, uint64_t owner, const Qcow2Header& header)
      : file_(file),
        cache_(cache),
        owner_(owner),
        compression_type_(header.compression_type),
        tables_(file, file, cache, owner, io_epoch_, header) {}
  ~SnapshotImage() override { cache_.DropOwner(owner_); }

  ImageFormat format() const override { return ImageFormat::kQcow2; }
  File& file() override { return file_; }
  uint64_t virtual_size() const override { return tables_.header().virtual_size(); }
  uint32_t cluster_size() const override {
    return static_cast<uint32_t>(tables_.geometry().cluster_size());
  }
  std::optional<BackingReference> backing() const override { return tables_.header().backing(); }
  bool has_subclusters() const override { return tables_.geometry().extended_l2; }
  std::string read_only_reason() const override { return "it is an internal snapshot"; }
  Result<uint64_t> AllocatedBytes() override;
  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) override;
  Status ReadCompressed(const Extent& extent, std::span<std::byte> out) override {
    return reader_.ReadCompressed(extent.host, extent.compressed_bytes, out);
  }

 private:
  File& file_;
  MetadataCache& cache_;
  const uint64_t owner_;
  const uint8_t compression_type_;
  ImageTables tables_;
  const ClusterReader reader_{file_, tables_, compression_type_};
};

// The snapshot of that number in `list`, which was read from `file`. kCorrupt where it is broken.
Result<std::unique_ptr<Image>> OpenSnapshot(File& file, MetadataCache& cache, uint64_t owner,
                                            const SnapshotList& list, size_t index);

}  // namespace chainfs::qcow2
