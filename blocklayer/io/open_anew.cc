// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/open_anew.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <string>

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

}  // namespace chainfs
