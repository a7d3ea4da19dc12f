// SPDX-License-Identifier: Apache-2.0
//
// LeaseKind: what a job does to a layer that it has a lease on, and with it which locks the file
// carries meanwhile. Those of several leases on one layer add up.
#pragma once

#include <cstdint>

namespace chainfs {

enum class LeaseKind : uint8_t {
  kFill,          // gives it contents of its own that it shows already
  kCommitBase,    // writes into it what is above it
  kCommitMiddle,  // makes what it shows wrong: nobody else may read it, and it is not written
};
inline constexpr int kLeaseKinds = 3;

}  // namespace chainfs
