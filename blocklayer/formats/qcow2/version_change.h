// SPDX-License-Identifier: Apache-2.0
//
// The header of an image as one of the other version: version 3 has fields behind byte 72, so that
// all extensions move, and with them a backing name that lies in the first sector. Feature names
// are left out of version 2, which has no features.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

struct VersionChange {
  std::array<std::byte, kHeaderSector> sector = {};
  // Written and synced before the sector: bytes where the old header has nothing.
  uint64_t early_offset = 0;
  std::vector<std::byte> early = {};
};

// Plans to make `file` of that version, with its refcounts and tables as they are, and parses what
// a crash can leave. kUnsupported: the header has no room, or says what that version cannot.
Result<VersionChange> PlanVersionChange(File& file, uint32_t version, bool lazy_refcounts);

}  // namespace chainfs::qcow2
