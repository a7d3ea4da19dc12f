// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/posix_image_locks.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <string>
#include <utility>

namespace chainfs {
namespace {

constexpr uint8_t kChainfsMark = 90;
constexpr uint8_t kEndingMark = 91;
constexpr uint8_t kUsedBase = 100;
constexpr uint8_t kUnsharedBase = 200;
constexpr uint8_t kPermissions = 4;

bool HasBit(uint8_t bits, size_t index) { return (bits >> index & 1) != 0; }

ImageLockSet Minus(ImageLockSet a, ImageLockSet b) {
  return {.used = static_cast<uint8_t>(a.used & ~b.used),
          .unshared = static_cast<uint8_t>(a.unshared & ~b.unshared)};
}

struct flock LockRequest(uint8_t byte, short type) {
  struct flock request = {};
  request.l_type = type;
  request.l_whence = SEEK_SET;
  request.l_start = byte;
  request.l_len = 1;
  return request;
}

// `pid`: of who holds the lock; the kernel does not tell for locks of QEMU's kind.
std::string LockedText(const std::string& path, pid_t pid) {
  std::string who;
  if (pid > 0) {
    std::string name;
    std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
    who = fmt::format(" ({} {})", pid, name);
  }
  return fmt::format("{}: locked by another process{}; stop it, and the disk appears by itself",
                     path, who);
}

}  // namespace

Status PosixImageLocks::LockByte(int fd, uint8_t byte, short type) {
  struct flock request = LockRequest(byte, type);
  int rc;
  do {
    rc = ::fcntl(fd, F_OFD_SETLK, &request);
  } while (rc != 0 && errno == EINTR);
  if (rc == 0) return {};
  const int error = errno;
  if (error == EAGAIN || error == EACCES) {
    return Fail(ErrorKind::kBusy, LockedText(path_, 0));
  }
  return FailErrno(error, fmt::format("{}: cannot lock it (does its file system support open file "
                                      "description locks?)",
                                      path_));
}

Status PosixImageLocks::ApplyLocks(int fd, ImageLockSet locks, short type) {
  for (uint8_t i = 0; i < kPermissions; ++i) {
    if (HasBit(locks.used, i)) {
      CHAINFS_TRY(LockByte(fd, static_cast<uint8_t>(kUsedBase + i), type));
    }
  }
  for (uint8_t i = 0; i < kPermissions; ++i) {
    if (HasBit(locks.unshared, i)) {
      CHAINFS_TRY(LockByte(fd, static_cast<uint8_t>(kUnsharedBase + i), type));
    }
  }
  return {};
}

Status PosixImageLocks::TestByte(int fd, uint8_t byte) const {
  // As F_WRLCK, because that conflicts with the shared locks of others.
  struct flock request = LockRequest(byte, F_WRLCK);
  if (::fcntl(fd, F_OFD_GETLK, &request) != 0) {
    return FailErrno(errno, fmt::format("{}: cannot test its locks", path_));
  }
  if (request.l_type == F_UNLCK) return {};
  return Fail(ErrorKind::kBusy, LockedText(path_, request.l_pid));
}

Status PosixImageLocks::TestLocks(int fd, ImageLockSet locks) const {
  for (uint8_t i = 0; i < kPermissions; ++i) {
    if (HasBit(locks.used, i)) {
      CHAINFS_TRY(TestByte(fd, static_cast<uint8_t>(kUnsharedBase + i)));
    }
    if (HasBit(locks.unshared, i)) {
      CHAINFS_TRY(TestByte(fd, static_cast<uint8_t>(kUsedBase + i)));
    }
  }
  return {};
}

Status PosixImageLocks::ApplyMarks(int fd, ImageLockSet locks, short type) {
  if (locks == kNoLocks) return {};
  CHAINFS_TRY(LockByte(fd, kChainfsMark, type));
  return ends_ ? LockByte(fd, kEndingMark, type) : Status();
}

bool PosixImageLocks::LockedElsewhere(int fd, uint8_t first_byte, uint8_t count) {
  // As F_WRLCK, because that conflicts with the shared locks of others.
  struct flock request = LockRequest(first_byte, F_WRLCK);
  request.l_len = count;
  return ::fcntl(fd, F_OFD_GETLK, &request) == 0 && request.l_type != F_UNLCK;
}

bool PosixImageLocks::HeldByOthers(int fd) {
  return LockedElsewhere(fd, kUsedBase, kUnsharedBase + kPermissions - kUsedBase);
}

ImageHolder PosixImageLocks::HolderElsewhere(int fd) {
  if (LockedElsewhere(fd, kEndingMark, 1)) return ImageHolder::kEndingChainfs;
  if (LockedElsewhere(fd, kChainfsMark, 1)) return ImageHolder::kChainfs;
  return HeldByOthers(fd) ? ImageHolder::kSomebody : ImageHolder::kNobody;
}

void PosixImageLocks::AnnounceEnd(int fd) {
  ends_ = true;
  // Whoever waits would wait in vain for a moment; nothing else.
  (void)ApplyMarks(fd, locks_, F_RDLCK);
}

Status PosixImageLocks::Set(int fd, ImageLockSet locks) {
  const ImageLockSet added = Minus(locks, locks_);
  const ImageLockSet dropped = Minus(locks_, locks);
  Status taken = ApplyLocks(fd, added, F_RDLCK);
  if (taken) taken = TestLocks(fd, locks);
  if (!taken) {
    // Unlocking a byte that was not reached is harmless; unlocking cannot conflict.
    [[maybe_unused]] const Status restored = ApplyLocks(fd, added, F_UNLCK);
    return taken;
  }
  const ImageLockSet before = std::exchange(locks_, locks);
  CHAINFS_TRY(ApplyLocks(fd, dropped, F_UNLCK));
  // Last, so that a mark without locks is seen as nobody's.
  return locks == kNoLocks ? ApplyMarks(fd, before, F_UNLCK) : ApplyMarks(fd, locks, F_RDLCK);
}

Status PosixImageLocks::TakeToo(int fd) {
  CHAINFS_TRY(ApplyLocks(fd, locks_, F_RDLCK));
  return ApplyMarks(fd, locks_, F_RDLCK);
}

void PosixImageLocks::DropFrom(int fd) {
  // Unlocking cannot conflict.
  (void)ApplyLocks(fd, locks_, F_UNLCK);
  (void)ApplyMarks(fd, locks_, F_UNLCK);
}

}  // namespace chainfs
