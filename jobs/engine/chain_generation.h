// SPDX-License-Identifier: Apache-2.0
//
// Whether a command still meets the chain that its giver has seen.
#pragma once

#include <cstdint>
#include <optional>

#include "blocklayer/chain/disk.h"

namespace chainfs::jobs {

// kStale when the chain of the disk has another generation than the one that was asked for. It
// counts under the reservation of the command (reservation.h), where there is one: what was true
// before it may have changed until it was made.
Status CheckGeneration(const Disk& disk, std::optional<uint64_t> expected);

}  // namespace chainfs::jobs
