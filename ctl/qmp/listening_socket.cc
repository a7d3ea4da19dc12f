// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/listening_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace chainfs::qmp {
namespace {

constexpr int kBacklog = 16;

UniqueFd NewSocket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

Result<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("QMP socket {}: the path is longer than {} bytes; choose a shorter one",
                            path, sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int Bind(int fd, const sockaddr_un& address) {
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

// Keeps other daemons of ours from looking at the name while it is replaced: they would take a
// socket that is not listened to yet for a stale one. Who locks the directory for long is not
// waited for. Without a lock (where the file system has none, or the directory cannot be read) it
// is only not as safe.
Result<UniqueFd> LockDirectoryOf(const std::string& path) {
  constexpr std::chrono::milliseconds kPause{10};
  constexpr int kAttempts = 500;
  const std::string directory = path.substr(0, path.rfind('/') + 1);
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fd;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return fd;
    std::this_thread::sleep_for(kPause);
  }
  return Fail(
      ErrorKind::kBusy,
      fmt::format("QMP socket {}: somebody has locked its directory; choose another path", path));
}

// Of a daemon that was killed: a socket to which nobody listens.
Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat st = {};
  if (::lstat(path.c_str(), &st) != 0) {
    return errno == ENOENT ? Status() : FailErrno(errno, fmt::format("QMP socket {}", path));
  }
  if (!S_ISSOCK(st.st_mode)) {
    return Fail(ErrorKind::kExists,
                fmt::format("QMP socket {}: something is there that is no socket; remove it or "
                            "choose another path",
                            path));
  }
  const UniqueFd probe = NewSocket();
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != ECONNREFUSED) {
    return Fail(
        ErrorKind::kBusy,
        fmt::format("QMP socket {}: somebody else listens there; choose another path", path));
  }
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  return FailErrno(errno, fmt::format("QMP socket {}: cannot remove the old one", path));
}

}  // namespace

Result<ListeningSocket> ListeningSocket::Open(const std::string& path, std::optional<gid_t> group) {
  CHAINFS_ASSIGN(const sockaddr_un address, AddressOf(path));
  UniqueFd fd = NewSocket();
  if (!fd.valid()) return FailErrno(errno, "socket");
  // The mode of the name to come: nobody gets in before the rest is done.
  if (::fchmod(fd.get(), 0600) != 0) return FailErrno(errno, fmt::format("QMP socket {}", path));
  CHAINFS_ASSIGN(const UniqueFd lock, LockDirectoryOf(path));
  int error = Bind(fd.get(), address);
  if (error == EADDRINUSE) {
    CHAINFS_TRY(RemoveStale(path, address));
    error = Bind(fd.get(), address);
  }
  if (error != 0) return FailErrno(error, fmt::format("QMP socket {}", path));
  ListeningSocket socket(std::move(fd), path);
  CHAINFS_TRY(socket.Adopt(group));
  if (::listen(socket.fd(), kBacklog) != 0) {
    return FailErrno(errno, fmt::format("QMP socket {}", path));
  }
  return socket;
}

ListeningSocket::~ListeningSocket() {
  struct stat st = {};
  if (!fd_.valid() || ::lstat(path_.c_str(), &st) != 0) return;
  if (st.st_dev == device_ && st.st_ino == inode_) ::unlink(path_.c_str());
}

Status ListeningSocket::Adopt(std::optional<gid_t> group) {
  const auto failed = [&] { return FailErrno(errno, fmt::format("QMP socket {}", path_)); };
  const UniqueFd name(::open(path_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat st = {};
  if (!name.valid() || ::fstat(name.get(), &st) != 0) return failed();
  device_ = st.st_dev;
  inode_ = st.st_ino;
  if (!group) return {};
  if (::fchownat(name.get(), "", static_cast<uid_t>(-1), *group, AT_EMPTY_PATH) != 0) {
    return failed();
  }
  if (::chmod(fmt::format("/proc/self/fd/{}", name.get()).c_str(), 0660) != 0) return failed();
  return {};
}

}  // namespace chainfs::qmp
