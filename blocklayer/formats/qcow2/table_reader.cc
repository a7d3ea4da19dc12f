// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/table_reader.h"

#include <algorithm>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {

Result<std::vector<uint64_t>> ReadTable(File& file, HostOffset host, uint64_t entries) {
  std::vector<std::byte> raw(entries * 8);
  CHAINFS_TRY(file.ReadZeroFilled(host, raw));
  std::vector<uint64_t> table(entries);
  for (uint64_t i = 0; i < entries; ++i) table[i] = LoadBigEndian<uint64_t>(raw.data() + i * 8);
  return table;
}

Result<std::vector<L2Entry>> ReadL2Table(File& file, const Geometry& geometry, HostOffset host) {
  std::vector<std::byte> raw(geometry.cluster_size());
  CHAINFS_TRY(file.ReadZeroFilled(host, raw));
  std::vector<L2Entry> table(geometry.l2_entries());
  for (uint64_t i = 0; i < table.size(); ++i) table[i] = geometry.l2().Load(raw.data(), i);
  return table;
}

Status ForEachL1Entry(File& file, HostOffset host, uint64_t entries,
                      const std::function<Status(uint64_t index, uint64_t entry)>& visit) {
  constexpr uint64_t kEntriesAtOnce = 8192;
  for (uint64_t first = 0; first < entries; first += kEntriesAtOnce) {
    CHAINFS_ASSIGN(const std::vector<uint64_t> piece,
                   ReadTable(file, host + first * 8, std::min(entries - first, kEntriesAtOnce)));
    for (uint64_t i = 0; i < piece.size(); ++i) {
      if (piece[i] != 0) CHAINFS_TRY(visit(first + i, piece[i]));
    }
  }
  return {};
}

}  // namespace chainfs::qcow2
