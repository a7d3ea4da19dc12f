// SPDX-License-Identifier: Apache-2.0
//
// The byte-range locks by which QEMU (block/file-posix.c) and chainfs keep each other from
// corrupting an image. A holder takes shared OFD locks on byte 100 + bit for every permission that
// it uses and 200 + bit for every permission that it does not share; then it tests, as if for an
// exclusive lock, byte 200 + bit for each permission used and 100 + bit for each not shared.
//
// chainfs also marks what it holds, so that another one knows whether to wait: a shared lock on
// byte 90 as long as it holds any of the above, and on byte 91 once it is about to let go. QEMU
// looks at neither.
#pragma once

#include <cstdint>

namespace chainfs {

enum LockPermission : uint8_t {
  kLockConsistentRead = 1 << 0,
  kLockWrite = 1 << 1,
  kLockWriteUnchanged = 1 << 2,
  kLockResize = 1 << 3,
};

// Who holds locks on an image, as far as the marks tell.
enum class ImageHolder : uint8_t {
  kNobody,
  kSomebody,       // QEMU, or anything else
  kChainfs,        // another chainfs
  kEndingChainfs,  // another chainfs, which is about to let go
};

struct ImageLockSet {
  uint8_t used = 0;      // LockPermission bits
  uint8_t unshared = 0;  // LockPermission bits
  bool operator==(const ImageLockSet&) const = default;
};

// The sets that QEMU 7.2 was measured to take in the same roles.
inline constexpr ImageLockSet kNoLocks{};
inline constexpr ImageLockSet kActiveLayerLocks{
    .used = kLockConsistentRead | kLockWrite | kLockResize, .unshared = kLockWrite | kLockResize};
inline constexpr ImageLockSet kBackingLayerLocks{.used = kLockConsistentRead,
                                                 .unshared = kLockWrite | kLockResize};
// A layer that guests no longer write but a stream fills.
inline constexpr ImageLockSet kStreamTargetLocks{
    .used = kLockConsistentRead | kLockWrite | kLockWriteUnchanged | kLockResize,
    .unshared = kLockWrite | kLockResize};
// A layer between the two ends of a commit: what it shows is wrong for whoever reads it.
inline constexpr ImageLockSet kCommitMiddleLocks{
    .used = kLockConsistentRead, .unshared = kLockConsistentRead | kLockWrite | kLockResize};

// Those of the external data file of an image that has `locks`.
inline constexpr ImageLockSet DataFileLocks(const ImageLockSet& locks) {
  return {.used = locks.used, .unshared = static_cast<uint8_t>(locks.unshared & ~kLockWrite)};
}

// What a holder in both roles holds.
inline constexpr ImageLockSet Union(const ImageLockSet& a, const ImageLockSet& b) {
  return {.used = static_cast<uint8_t>(a.used | b.used),
          .unshared = static_cast<uint8_t>(a.unshared | b.unshared)};
}

}  // namespace chainfs
