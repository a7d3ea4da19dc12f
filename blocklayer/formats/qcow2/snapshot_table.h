// SPDX-License-Identifier: Apache-2.0
//
// The table of internal snapshots: frozen states of the disk within one image file, each with an L1
// table of its own. Nothing here is trusted: whatever the table says, at most 64 MiB are read, a
// few hundred kilobytes kept, and the L1 tables that it names are together no longer than the file
// could hold. Format facts: the qcow2 specification, "Snapshots"; limits: QEMU's.
//
// Threads: plain functions.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

inline constexpr uint64_t kMaxSnapshotTableBytes = 64ull << 20;
inline constexpr uint32_t kMaxSnapshotExtraBytes = 1024;

struct SnapshotEntry {
  uint32_t index = 0;  // in the table
  HostOffset l1_offset;
  uint32_t l1_entries = 0;  // may map more than the disk: there lies the state of a machine
  std::string id;           // up to 65535 bytes each, anything
  std::string name;
  uint64_t made = 0;             // seconds since 1970
  uint64_t vm_state_bytes = 0;   // 0: only the disk was saved
  std::optional<uint64_t> size;  // of the disk then, as stored; nothing: that of the image

  uint64_t l1_bytes() const { return uint64_t{l1_entries} * 8; }
};

// Calls `visit` for each snapshot, in the order of the table, and returns how many bytes the table
// has. Ends at the first error. kCorrupt: the table, or the place of an L1 table, is impossible.
Result<uint64_t> ForEachSnapshot(File& file, const Qcow2Header& header,
                                 const std::function<Status(const SnapshotEntry&)>& visit);

}  // namespace chainfs::qcow2
