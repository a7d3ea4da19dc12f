// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_rebuild.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/header_update.h"
#include "blocklayer/formats/qcow2/reference_count.h"

namespace chainfs::qcow2 {
namespace {

struct RebuildPlan {
  uint64_t start = 0;   // the first cluster that is new
  uint64_t budget = 0;  // how many blocks may be written
  bool keep = false;
};

class Rebuild {
 public:
  Rebuild(File& file, const Geometry& geometry, const RefcountsOnDisk& old, const RebuildPlan& plan)
      : file_(file),
        geometry_(geometry),
        old_(old),
        plan_(plan),
        next_(plan.start),
        block_(geometry.cluster_size()) {}

  // Writes the blocks that count the clusters of the window below `start`.
  Status AddWindow(const ReferenceWindow& window);
  // Counts the new clusters themselves, and writes the table. Durable on return.
  Status Finish();
  HostOffset table_place() const { return geometry_.HostOf(next_); }
  uint64_t table_clusters() const {
    return DivRoundUp(table_.size() * 8, geometry_.cluster_size());
  }

 private:
  std::unexpected<Error> Refuse(std::string_view why) const {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: refcounts cannot be made for it: {}", file_.path(), why));
  }
  Status Fill(const ReferenceWindow& window, uint64_t first, uint64_t end,
              const std::byte* old_block);
  // The block in memory is that of number `block`.
  Status Load(uint64_t block);
  Status Store();
  // A place for the block; it may have one.
  Status Place(uint64_t block);

  File& file_;
  const Geometry geometry_;
  const RefcountsOnDisk& old_;
  const RebuildPlan plan_;
  uint64_t next_;  // the first cluster that is free
  std::vector<uint64_t> table_;
  std::vector<std::byte> block_;
  uint64_t loaded_ = UINT64_MAX;
  bool used_ = false;  // the block in memory counts something
};

Status Rebuild::Place(uint64_t block) {
  if (block >= table_.size()) {
    const uint64_t bytes = RoundUp((block + 1) * 8, geometry_.cluster_size());
    if (bytes > std::max(kMaxHeaderRefcountTableBytes, geometry_.cluster_size())) {
      return Refuse("its clusters lie too far apart");
    }
    table_.resize(bytes / 8);
  }
  if (table_[block] != 0) return {};
  if (next_ - plan_.start >= plan_.budget) return Refuse("its clusters lie too far apart");
  if (next_ > kEntryOffsetMask >> geometry_.cluster_bits) return Refuse("its file is too long");
  table_[block] = geometry_.HostOf(next_++).value;
  return {};
}

Status Rebuild::Store() {
  if (loaded_ == UINT64_MAX || !used_) return {};
  CHAINFS_TRY(Place(loaded_));
  return file_.WriteAt(HostOffset(table_[loaded_]), block_);
}

Status Rebuild::Load(uint64_t block) {
  if (block == loaded_) return {};
  CHAINFS_TRY(Store());
  loaded_ = block;
  const uint64_t place = block < table_.size() ? table_[block] : 0;
  used_ = place != 0;
  std::ranges::fill(block_, std::byte{0});
  return used_ ? file_.ReadZeroFilled(HostOffset(place), block_) : Status();
}

Status Rebuild::Fill(const ReferenceWindow& window, uint64_t first, uint64_t end,
                     const std::byte* old_block) {
  const uint64_t entries = geometry_.refblock_entries();
  CHAINFS_TRY(Load(first / entries));
  const bool unknown = plan_.keep && old_block == nullptr &&
                       old_.StateOf(first / entries) != RefcountsOnDisk::BlockState::kMissing;
  for (uint64_t cluster = first; cluster < end; ++cluster) {
    uint64_t count = window.References(cluster);
    if (unknown) count = std::max<uint64_t>(count, 1);
    if (plan_.keep && old_block != nullptr) {
      count = std::max(count, LoadRefcount(old_block, cluster % entries, geometry_.refcount_order));
    }
    if (count == 0) continue;
    if (count > geometry_.max_refcount()) {
      return Refuse(
          fmt::format("cluster {} is shared {} times, more than its refcounts of {} bits "
                      "can say",
                      cluster, count, geometry_.refcount_bits()));
    }
    StoreRefcount(block_.data(), cluster % entries, geometry_.refcount_order, count);
    used_ = true;
  }
  return {};
}

Status Rebuild::AddWindow(const ReferenceWindow& window) {
  return old_.ForEachBlock(window.first(), std::min(window.end(), plan_.start),
                           [&](uint64_t first, uint64_t end, const std::byte* block) {
                             return Fill(window, first, end, block);
                           });
}

Status Rebuild::Finish() {
  const uint64_t entries = geometry_.refblock_entries();
  CHAINFS_TRY(Store());
  loaded_ = UINT64_MAX;
  // Blocks that count blocks may need blocks.
  for (uint64_t end = 0; end != next_ + table_clusters();) {
    end = next_ + table_clusters();
    for (uint64_t block = plan_.start / entries; block <= end / entries; ++block) {
      const bool is_new = block >= table_.size() || table_[block] == 0;
      CHAINFS_TRY(Place(block));
      if (!is_new) continue;
      std::ranges::fill(block_, std::byte{0});
      CHAINFS_TRY(file_.WriteAt(HostOffset(table_[block]), block_));
    }
  }
  const uint64_t end = next_ + table_clusters();
  for (uint64_t cluster = plan_.start; cluster < end; ++cluster) {
    CHAINFS_TRY(Load(cluster / entries));
    StoreRefcount(block_.data(), cluster % entries, geometry_.refcount_order, 1);
    used_ = true;
  }
  CHAINFS_TRY(Store());
  std::vector<std::byte> raw(table_.size() * 8);
  for (uint64_t i = 0; i < table_.size(); ++i) StoreBigEndian(raw.data() + i * 8, table_[i]);
  CHAINFS_TRY(file_.WriteAt(table_place(), raw));
  return file_.DataSync();
}

// How many blocks may be written: for an honest image a lot, whose refcounts are a fraction of a
// thousandth of what its file occupies.
Result<uint64_t> BlockBudget(File& file, const Geometry& geometry) {
  constexpr uint64_t kAlways = 16ull << 20;
  CHAINFS_ASSIGN(const FileStat stat, file.Stat());
  return (kAlways + std::min(stat.allocated_bytes, UINT64_MAX >> 1)) >> geometry.cluster_bits;
}

}  // namespace

Status RebuildAllRefcounts(File& file, Qcow2Header& header, ReferenceWindow& window,
                           const WalkControl& control, bool keep) {
  const Geometry geometry = header.geometry();
  CHAINFS_ASSIGN(const RefcountsOnDisk old, RefcountsOnDisk::Load(file, header));
  CHAINFS_ASSIGN(const uint64_t old_size, file.Size());
  CHAINFS_ASSIGN(const uint64_t budget, BlockBudget(file, geometry));
  // The last cluster may be incomplete, and one more be referred to for that.
  CHAINFS_ASSIGN(const uint64_t start, CountedClusters(file, geometry));
  Rebuild rebuild(file, geometry, old, {.start = start, .budget = budget, .keep = keep});
  CountHooks hooks;
  hooks.with_refcounts = false;
  hooks.window = [&](const ReferenceWindow& counted) { return rebuild.AddWindow(counted); };
  Status written;
  if (auto counted = CountReferences(file, header, old, window, control, hooks); !counted) {
    written = std::unexpected(std::move(counted).error());
  }
  if (written) written = rebuild.Finish();
  if (!written) {
    // Nothing refers to what was written.
    (void)file.Truncate(old_size);
    return written;
  }
  const HostOffset place = rebuild.table_place();
  const auto table_clusters = static_cast<uint32_t>(rebuild.table_clusters());
  CHAINFS_TRY(UpdateFirstSector(
      file, [&](HeaderSector sector) { PutRefcountTable(sector, place, table_clusters); }));
  header.refcount_table_offset = place;
  header.refcount_table_clusters = table_clusters;
  return file.DataSync();
}

}  // namespace chainfs::qcow2
