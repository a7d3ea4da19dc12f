// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/posix_enclosing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace chainfs {
namespace {

UniqueFd OpenPath(int directory, const char* name, int flags, uint64_t resolve) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(O_PATH | O_CLOEXEC | flags);
  how.resolve = resolve;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, directory, name, &how, sizeof how)));
}

Result<FileId> IdOf(int fd) {
  struct stat st = {};
  if (::fstat(fd, &st) != 0) return FailErrno(errno, "cannot look at a directory");
  return FileId{.device = st.st_dev, .inode = st.st_ino};
}

}  // namespace

EnclosingDirectory FindEnclosing(int directory, const NameFence& fence) {
  UniqueFd here = OpenPath(directory, ".", O_DIRECTORY, 0);
  while (here.valid()) {
    const Result<FileId> id = IdOf(here.get());
    if (!id) break;
    for (const NameFence::Inside& inside : fence.directories) {
      if (inside.id == *id) return {.inside = &inside, .fd = std::move(here)};
    }
    UniqueFd above = OpenPath(here.get(), "..", O_DIRECTORY, RESOLVE_NO_XDEV);
    if (!above.valid() || IdOf(above.get()).value_or(*id) == *id) break;
    here = std::move(above);
  }
  return {};
}

bool IsMissing(int directory, const std::string& name) {
  return !OpenPath(directory, name.c_str(), O_NOFOLLOW, RESOLVE_NO_XDEV).valid() && errno == ENOENT;
}

std::string RealPath(int fd) {
  std::array<char, PATH_MAX> path = {};
  const std::string self = fmt::format("/proc/self/fd/{}", fd);
  const ssize_t length = ::readlink(self.c_str(), path.data(), path.size());
  return length > 0 ? std::string(path.data(), static_cast<size_t>(length)) : std::string();
}

}  // namespace chainfs
