// SPDX-License-Identifier: Apache-2.0
//
// Layout of a new image, in clusters: header | refcount table | refcount blocks | L1 table, and if
// it is preallocated | L2 tables | data. Every one of them counts once, nothing else does; the L1
// table is as long as the size needs, so that it never has to grow for writing. Pure; no I/O.
#pragma once

#include <cstdint>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/geometry.h"

namespace chainfs::qcow2 {

struct NewLayout {
  Geometry geometry;
  uint64_t virtual_size = 0;
  uint32_t l1_entries = 0;
  uint64_t table_clusters = 1;
  uint64_t blocks = 1;
  uint64_t l1_clusters = 0;
  uint64_t l2_tables = 0;      // 0 unless it is preallocated
  uint64_t data_clusters = 0;  // as many as the disk has then
  uint64_t clusters = 0;       // of the whole file

  uint64_t first_block() const { return 1 + table_clusters; }
  uint64_t l1_cluster() const { return first_block() + blocks; }
  uint64_t first_l2() const { return l1_cluster() + l1_clusters; }
  uint64_t first_data() const { return first_l2() + l2_tables; }
};

// kInvalidArgument: no image with such clusters can be that large. `path` is for the message.
Result<NewLayout> PlanNewLayout(const std::string& path, const Qcow2CreateOptions& options);

}  // namespace chainfs::qcow2
