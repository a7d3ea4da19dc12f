// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_table.h"

#include <algorithm>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {

Result<RefcountTable> RefcountTable::Load(File& file, HostOffset offset, uint64_t entries) {
  constexpr uint64_t kEntriesAtOnce = 8192;
  RefcountTable table;
  table.size_ = entries;
  std::vector<std::byte> raw(std::min(entries, kEntriesAtOnce) * 8);
  for (uint64_t first = 0; first < entries; first += kEntriesAtOnce) {
    const uint64_t count = std::min(entries - first, kEntriesAtOnce);
    const std::span<std::byte> piece = std::span(raw).first(count * 8);
    CHAINFS_TRY(file.ReadZeroFilled(offset + first * 8, piece));
    for (uint64_t i = 0; i < count; ++i) {
      const auto entry = LoadBigEndian<uint64_t>(piece.data() + i * 8);
      if (entry != 0) table.Set(first + i, entry);
    }
  }
  return table;
}

void RefcountTable::Set(uint64_t index, uint64_t entry) {
  if (index >= used_.size()) used_.resize(index + 1);
  used_[index] = entry;
}

std::vector<std::byte> RefcountTable::Encode() const {
  std::vector<std::byte> raw(size_ * 8);
  for (uint64_t i = 0; i < used_.size(); ++i) StoreBigEndian(raw.data() + i * 8, used_[i]);
  return raw;
}

}  // namespace chainfs::qcow2
