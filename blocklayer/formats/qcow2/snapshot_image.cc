// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/snapshot_image.h"

#include <fmt/format.h>

namespace chainfs::qcow2 {

// Of the whole file: what the snapshot shares with others is not told apart.
Result<uint64_t> SnapshotImage::AllocatedBytes() {
  CHAINFS_ASSIGN(const FileStat stat, file_.Stat());
  return stat.allocated_bytes;
}

Result<Extent> SnapshotImage::Map(GuestOffset offset, uint64_t length, MapDetail /*detail*/) {
  const uint64_t size = virtual_size();
  if (offset.value <= size && length <= size - offset.value) return reader_.Map(offset, length);
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: {} bytes at {} pass the end of the snapshot ({} bytes)",
                          file_.path(), length, offset.value, size));
}

// The header is read anew: the image may have a new backing file by now, or features.
Result<std::unique_ptr<Image>> OpenSnapshot(File& file, MetadataCache& cache, uint64_t owner,
                                            const SnapshotList& list, size_t index) {
  CHAINFS_ASSIGN(const Qcow2Header header, ReadQcow2Header(file));
  CHAINFS_ASSIGN(const Qcow2Header as_disk, list.HeaderOf(file.path(), header, index));
  return std::make_unique<SnapshotImage>(file, cache, owner, as_disk);
}

}  // namespace chainfs::qcow2
