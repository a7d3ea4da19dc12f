// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/pending_changes.h"

#include <utility>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kEntriesPerSector = kTableSector / 8;

std::vector<std::byte> CopySectors(const std::set<uint64_t>& sectors, const RefcountTable& table) {
  std::vector<std::byte> bytes(sectors.size() * kTableSector);
  std::byte* out = bytes.data();
  for (const uint64_t sector : sectors) {
    for (uint64_t i = 0; i < kEntriesPerSector; ++i) {
      StoreBigEndian(out + i * 8, table[sector * kEntriesPerSector + i]);
    }
    out += kTableSector;
  }
  return bytes;
}

}  // namespace

void PendingChanges::Add(Slices& slices, HostOffset offset, const SlicePtr& slice) {
  slices.try_emplace(offset.value, slice);
  Weigh();
}

void PendingChanges::AddRefcountTableEntry(uint64_t index) {
  reftable_sectors_.insert(index / kEntriesPerSector);
}

void PendingChanges::AddDereferenced(std::span<const uint64_t> clusters) {
  dereferenced_.insert(dereferenced_.end(), clusters.begin(), clusters.end());
  Weigh();
}

void PendingChanges::AddVacated(std::span<const uint64_t> clusters) {
  vacated_.insert(vacated_.end(), clusters.begin(), clusters.end());
  Weigh();
}

void PendingChanges::Weigh() {
  weight_.store(l2_.size() + refcounts_.size() +
                    (dereferenced_.size() + vacated_.size()) / kDereferencesPerSlice,
                std::memory_order_relaxed);
}

bool PendingChanges::empty() const {
  return l2_.empty() && refcounts_.empty() && l1_.empty() && reftable_sectors_.empty() &&
         dereferenced_.empty() && vacated_.empty();
}

CommitBatch PendingChanges::Take(const RefcountTable& reftable, HostOffset reftable_offset,
                                 HostOffset l1_end) {
  CommitBatch batch;
  const auto copy = [](const Slices& slices, std::vector<CommitBatch::Slice>& out) {
    out.reserve(slices.size());
    for (const auto& [offset, slice] : slices) {
      const std::span<const std::byte> bytes = slice->bytes();
      out.push_back({HostOffset(offset), slice, {bytes.begin(), bytes.end()}});
    }
  };
  copy(l2_, batch.l2);
  copy(refcounts_, batch.refcounts);
  copy(l1_, batch.l1);
  batch.l1_end = l1_end;
  batch.reftable_bytes = CopySectors(reftable_sectors_, reftable);
  batch.reftable_offset = reftable_offset;
  // Nothing below can fail.
  l2_.clear();
  refcounts_.clear();
  l1_.clear();
  batch.reftable_sectors.swap(reftable_sectors_);
  batch.dereferenced.swap(dereferenced_);
  batch.vacated.swap(vacated_);
  Weigh();
  return batch;
}

void PendingChanges::PutBack(CommitBatch batch, HostOffset reftable_offset) {
  const auto put = [](std::vector<CommitBatch::Slice>& from, Slices& slices) {
    for (CommitBatch::Slice& slice : from) {
      slices.try_emplace(slice.offset.value, std::move(slice.slice));
    }
  };
  put(batch.l2, l2_);
  put(batch.refcounts, refcounts_);
  put(batch.l1, l1_);
  // A table that has grown meanwhile was written whole.
  if (batch.reftable_offset == reftable_offset) reftable_sectors_.merge(batch.reftable_sectors);
  dereferenced_.insert(dereferenced_.end(), batch.dereferenced.begin(), batch.dereferenced.end());
  vacated_.insert(vacated_.end(), batch.vacated.begin(), batch.vacated.end());
  Weigh();
}

Status PendingChanges::WriteRefcounts(File& file) const {
  if (under_way_ != nullptr) {
    for (const CommitBatch::Slice& taken : under_way_->refcounts) {
      CHAINFS_TRY(file.WriteAt(taken.offset, taken.slice->bytes()));
    }
  }
  for (const auto& [offset, slice] : refcounts_) {
    CHAINFS_TRY(file.WriteAt(HostOffset(offset), slice->bytes()));
  }
  return {};
}

}  // namespace chainfs::qcow2
