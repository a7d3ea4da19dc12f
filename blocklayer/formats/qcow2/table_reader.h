// SPDX-License-Identifier: Apache-2.0
//
// Reading whole tables of an image from its file, past the slice cache: for whoever walks over all
// of them once. The bytes are not trusted; what they say is for the caller to judge.
//
// Threads: plain functions.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/geometry.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// The 64-bit entries at `host`, in host byte order; past the end of the file: zeros.
Result<std::vector<uint64_t>> ReadTable(File& file, HostOffset host, uint64_t entries);
// The L2 table at `host`.
Result<std::vector<L2Entry>> ReadL2Table(File& file, const Geometry& geometry, HostOffset host);

// Calls `visit(index, entry)` for each L1 entry that is not 0, in order, reading the table of
// `entries` entries at `host` in small pieces. Ends at the first error.
Status ForEachL1Entry(File& file, HostOffset host, uint64_t entries,
                      const std::function<Status(uint64_t index, uint64_t entry)>& visit);

}  // namespace chainfs::qcow2
