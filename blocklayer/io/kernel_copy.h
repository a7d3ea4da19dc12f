// SPDX-License-Identifier: Apache-2.0
//
// Copies between files that need no bytes in our memory.
//
// A file system that shares extents (XFS, btrfs) moves none at all, and one over a network lets its
// server copy. Any other copies them, and keeps the target locked while it reads the source, so
// that threads that read and write by themselves are faster together: there it is not done.
//
// Threads: any.
#pragma once

#include <cstdint>

namespace chainfs {

// Offsets and length are bytes, the files opened for reading and for writing. Returns 0 when all of
// it is copied, else an errno: EOPNOTSUPP, EXDEV or EINVAL where this pair of files, or this range,
// cannot or should not be copied like that, also when the source ends early.
int CopyWithinKernel(int from, uint64_t source_offset, int to, uint64_t offset, uint64_t length);

}  // namespace chainfs
