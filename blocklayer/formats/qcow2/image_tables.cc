// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/image_tables.h"

#include <fmt/format.h>

#include <utility>

namespace chainfs::qcow2 {

ImageTables::ImageTables(File& file, File& data, MetadataCache& cache, uint64_t owner,
                         IoEpoch& epoch, const Qcow2Header& header)
    : state_(file, data, cache, owner, header),
      ledger_(state_, epoch),
      inventory_(state_, cache),
      bitmaps_(state_, ledger_, cache) {}

Status ImageTables::GrowL1For(uint64_t size) {
  const Geometry& geometry = state_.geometry;
  const uint64_t entries = geometry.L1EntriesFor(size);
  if (entries * 8 > kMaxHeaderL1Bytes) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: {} bytes is more than an image with {}-byte clusters can map",
                            state_.file.path(), size, geometry.cluster_size()));
  }
  if (entries <= state_.l1.entries()) return {};
  // What is pending now goes to the old table first, so that the copy of it is all there is.
  return ledger_.CommitThen([&] { return MoveL1(entries); });
}

Status ImageTables::MoveL1(uint64_t entries) {
  const Geometry& geometry = state_.geometry;
  if (entries <= state_.l1.entries()) return {};  // somebody was faster
  MutexLock lock(state_.mu);
  const HostOffset old_offset = state_.l1.offset();
  const uint64_t old_clusters = DivRoundUp(state_.l1.entries() * 8, geometry.cluster_size());
  const uint64_t clusters = DivRoundUp(entries * 8, geometry.cluster_size());
  CHAINFS_ASSIGN(const uint64_t first, state_.allocator.AllocateContiguous(clusters));
  const HostOffset offset = geometry.HostOf(first);
  // Durable before the switch: the counts of the new table and of the blocks that hold them, then
  // their table entries, and the table itself.
  CHAINFS_TRY(state_.pending.WriteRefcounts(state_.file));
  CHAINFS_TRY(state_.file.ZeroRange(offset, clusters << geometry.cluster_bits));
  CHAINFS_TRY(state_.l1_to_change->CopyTo(offset, entries));
  CHAINFS_TRY(state_.file.DataSync());
  CHAINFS_TRY(state_.growth.WriteTable());
  CHAINFS_TRY(state_.header.ChangeSector(
      [&](HeaderSector sector) { PutL1Table(sector, offset, static_cast<uint32_t>(entries)); }));

  state_.pending.ForgetL1();  // all of it was just written
  state_.l1_to_change->Move();
  state_.overlap.Add(first, clusters);
  state_.dereferences.DropTable(geometry.ClusterOf(old_offset), old_clusters);
  return {};
}

void ImageTables::MarkCorrupt(std::string why) {
  if (!state_.corruption.Note(std::move(why))) return;
  if (!ledger_.Commit()) return;  // the file takes nothing any more, this mark included
  state_.header.SetCorruptBit();
}

}  // namespace chainfs::qcow2
