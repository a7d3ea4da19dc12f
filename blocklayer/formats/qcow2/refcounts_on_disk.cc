// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcounts_on_disk.h"

#include <algorithm>
#include <array>

#include "blocklayer/formats/qcow2/table_reader.h"

namespace chainfs::qcow2 {

Result<RefcountsOnDisk> RefcountsOnDisk::Load(File& file, const Qcow2Header& header) {
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  RefcountsOnDisk refcounts(file, header.geometry(), size);
  CHAINFS_ASSIGN(refcounts.table_,
                 ReadTable(file, header.refcount_table_offset, header.refcount_table_bytes() / 8));
  return refcounts;
}

RefcountsOnDisk::BlockState RefcountsOnDisk::StateOf(uint64_t block) const {
  const uint64_t entry = block < table_.size() ? table_[block] : 0;
  if ((entry & kReservedMask) != 0) return BlockState::kReservedBits;
  if (entry == 0) return BlockState::kMissing;
  if (PlaceOf(block).Within(geometry_.cluster_size()) != 0) return BlockState::kUnaligned;
  return entry >= file_size_ ? BlockState::kOutside : BlockState::kSound;
}

bool RefcountsOnDisk::Unreadable(uint64_t block) const {
  const HostOffset place = block < table_.size() ? PlaceOf(block) : HostOffset();
  return place.Within(geometry_.cluster_size()) != 0 || place.value > INT64_MAX;
}

uint64_t RefcountsOnDisk::NextBlock(uint64_t block) const {
  if (block >= table_.size()) return table_.size();
  const auto found = std::find_if(table_.begin() + static_cast<ptrdiff_t>(block), table_.end(),
                                  [](uint64_t entry) { return entry != 0; });
  return static_cast<uint64_t>(found - table_.begin());
}

bool RefcountsOnDisk::HasCounts(uint64_t block) const {
  const HostOffset place = block < table_.size() ? PlaceOf(block) : HostOffset();
  return place.value != 0 && place.value < file_size_ &&
         place.Within(geometry_.cluster_size()) == 0;
}

Status RefcountsOnDisk::ForEachBlock(
    uint64_t first, uint64_t end,
    const std::function<Status(uint64_t first, uint64_t end, const std::byte* block)>& visit)
    const {
  const uint64_t entries = geometry_.refblock_entries();
  std::vector<std::byte> bytes(geometry_.cluster_size());
  while (first < end) {
    const uint64_t block = first / entries;
    const uint64_t block_end = std::min(end, (block + 1) * entries);
    const bool has_counts = HasCounts(block);
    if (has_counts) CHAINFS_TRY(file_->ReadZeroFilled(PlaceOf(block), bytes));
    CHAINFS_TRY(visit(first, block_end, has_counts ? bytes.data() : nullptr));
    first = block_end;
  }
  return {};
}

Result<uint64_t> RefcountsOnDisk::CountOf(uint64_t cluster) const {
  const uint64_t block = cluster / geometry_.refblock_entries();
  if (!HasCounts(block)) return uint64_t{0};
  // Of the block, the eight bytes with its count.
  const uint64_t index = cluster % geometry_.refblock_entries();
  const uint64_t counts_per_word = 64 / geometry_.refcount_bits();
  std::array<std::byte, 8> word;
  CHAINFS_TRY(file_->ReadZeroFilled(PlaceOf(block) + index / counts_per_word * 8, word));
  return LoadRefcount(word.data(), index % counts_per_word, geometry_.refcount_order);
}

}  // namespace chainfs::qcow2
