// SPDX-License-Identifier: Apache-2.0
//
// ReadTap: what a job hangs into a disk to learn what its users read. Jobs' own reads are not told:
// they do not go through Disk::Read.
//
// Threads: called by whoever reads the disk, many at once, overlapping ranges in no order. The
// reader waits for it, so it takes no lock, does no I/O and calls nobody who might; nor may it add
// or remove taps.
#pragma once

#include <cstdint>

#include "blocklayer/base/types.h"

namespace chainfs {

class ReadTap {
 public:
  virtual ~ReadTap() = default;
  // The range, in bytes and not empty, has been read.
  virtual void AfterRead(GuestOffset offset, uint64_t length) noexcept = 0;
};

}  // namespace chainfs
