// SPDX-License-Identifier: Apache-2.0
//
// From reading to writing: a second open file description of the same inode takes over the locks of
// the first one, and then its descriptor's number. Whoever uses that number meanwhile has the old
// description or the new one, and reads the same from both.
//
// The order matters: OFD locks go with the last descriptor of their description, and those of two
// descriptions of one process conflict like those of two processes. So the new one has all locks
// before the old one is let go, and the old one's are dropped by hand: a read that is still under
// way would keep them alive, and a later change of the locks would be refused because of them.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "blocklayer/io/posix_file.h"

namespace chainfs {

UniqueFd OpenAnew(int fd, bool writable) {
  // Another chainfs that looks whether the file is still being written holds a lease for a moment.
  constexpr int kTries = 20;
  constexpr useconds_t kPause = 1000;
  const int access = writable ? O_RDWR : O_RDONLY;
  const std::string place = fmt::format("/proc/self/fd/{}", fd);
  // A guest's reads are no news about the image, and keeping access times costs a few per cent of
  // each read; but only the owner of a file may do without.
  int quiet = O_NOATIME;
  UniqueFd opened;
  for (int i = 0; i < kTries && !opened.valid(); ++i) {
    if (i > 0) ::usleep(kPause);
    // O_NONBLOCK: not even another process's lease makes this wait.
    const auto open_with = [&](int flags) {
      return UniqueFd(::open(place.c_str(), access | flags | O_NONBLOCK | O_CLOEXEC));
    };
    opened = open_with(quiet);
    if (!opened.valid() && errno == EPERM && quiet != 0) {
      quiet = 0;
      opened = open_with(quiet);
    }
    if (!opened.valid() && errno != EAGAIN) break;
  }
  // File promises blocking I/O, which matters where the host's file is itself on a FUSE mount.
  if (opened.valid() && ::fcntl(opened.get(), F_SETFL, access | quiet) != 0) return UniqueFd();
  return opened;
}

Status PosixFile::ReopenForWriting() {
  if (writable()) return {};
  // What is known of its contents would be worth nothing.
  if (ChangedByOthers()) return FailChangedByOthers();
  // Keeps the old description within reach, to drop its locks in the end.
  const UniqueFd old(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!old.valid()) return FailHere(errno, "open it for writing");
  const UniqueFd opened = OpenAnew(fd_.get(), true);
  if (!opened.valid()) return FailHere(errno, "open it for writing");
  struct stat before = {};
  struct stat now = {};
  if (::fstat(old.get(), &before) != 0 || ::fstat(opened.get(), &now) != 0) {
    return FailHere(errno, "read its attributes");
  }
  if (before.st_dev != now.st_dev || before.st_ino != now.st_ino) {
    return Fail(ErrorKind::kStale,
                fmt::format("{}: opening it for writing leads to a copy of the file (its file "
                            "system is an overlay); close its disks, so that it is opened anew",
                            path()));
  }
  CHAINFS_TRY(ApplyLocks(opened.get(), locks_, F_RDLCK));
  CHAINFS_TRY(ApplyMarks(opened.get(), locks_, F_RDLCK));
  int rc;
  do {
    rc = ::dup3(opened.get(), fd_.get(), O_CLOEXEC);
  } while (rc < 0 && (errno == EINTR || errno == EBUSY));
  if (rc < 0) return FailHere(errno, "open it for writing");
  writable_.store(true, std::memory_order_release);
  // Unlocking cannot conflict.
  (void)ApplyLocks(old.get(), locks_, F_UNLCK);
  (void)ApplyMarks(old.get(), locks_, F_UNLCK);
  return {};
}

}  // namespace chainfs
