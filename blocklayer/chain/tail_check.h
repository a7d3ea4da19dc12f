// SPDX-License-Identifier: Apache-2.0
//
// Whether a disk can lose its end without losing anything.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string>

#include "blocklayer/chain/chain.h"

namespace chainfs {

// kInvalidArgument, and a sentence that names `disk` and the place, where the chain holds anything
// but zeros from `new_size` on, and where its map is too long to be looked through.
Status CheckTailEmpty(const Chain& chain, const std::string& disk, uint64_t new_size);

}  // namespace chainfs
