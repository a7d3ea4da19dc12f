// SPDX-License-Identifier: Apache-2.0
//
// PosixImageLocks: the locks that one open file of the host holds by the byte protocol of
// image_lock.h. While a set changes the file holds the union of old and new, so that nobody slips
// in between; on conflict the old set is restored.
//
// OFD locks belong to an open file description: each call says by which descriptor it is reached.
// Threads: calls that change something are serialized by the owner.
#pragma once

#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/io/image_lock.h"

namespace chainfs {

class PosixImageLocks {
 public:
  // `path` is for messages.
  explicit PosixImageLocks(std::string path) : path_(std::move(path)) {}

  // kBusy when others hold what conflicts.
  Status Set(int fd, ImageLockSet locks);
  // Marks the locks as those of one who is about to drop them.
  void AnnounceEnd(int fd);
  // A second description of the same file takes what the first one holds; then the first lets go.
  Status TakeToo(int fd);
  void DropFrom(int fd);

  static bool HeldByOthers(int fd);
  static ImageHolder HolderElsewhere(int fd);

 private:
  Status LockByte(int fd, uint8_t byte, short type);
  // Takes (F_RDLCK) or drops (F_UNLCK) the bytes of `locks`.
  Status ApplyLocks(int fd, ImageLockSet locks, short type);
  // The same for the marks of one who holds `locks`.
  Status ApplyMarks(int fd, ImageLockSet locks, short type);
  static bool LockedElsewhere(int fd, uint8_t first_byte, uint8_t count);
  Status TestLocks(int fd, ImageLockSet locks) const;
  Status TestByte(int fd, uint8_t byte) const;

  const std::string path_;
  ImageLockSet locks_;
  bool ends_ = false;
};

}  // namespace chainfs
