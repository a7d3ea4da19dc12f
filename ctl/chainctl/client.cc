// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/client.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "blocklayer/base/unique_fd.h"
#include "ctl/chainctl/exit_code.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/mounts.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/setfattr_line.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

// XATTR_SIZE_MAX: no value is longer, so that one call suffices even while it grows.
constexpr size_t kValueLimit = 65536;

bool MeansDaemonGone(int saved_errno) {
  return saved_errno == ENOTCONN || saved_errno == ECONNABORTED || saved_errno == ESHUTDOWN;
}

std::unexpected<Error> FailAt(int saved_errno, std::string_view path) {
  if (MeansDaemonGone(saved_errno)) return FailDaemonGone(saved_errno, path);
  return FailMounted(saved_errno, fmt::format("{}: {}", path, std::strerror(saved_errno)));
}

std::unexpected<Error> FailNotOurs(std::string_view path) {
  return FailMounted(
      ENODATA,
      fmt::format("{}: not in a chainfs mount; `chainctl list` shows what is mounted", path));
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

Result<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr),
                                                         &std::free);
  if (real) return std::string(real.get());
  const int saved_errno = errno;
  // After an unmount the files are simply not there: the same case as a file that is not ours.
  if (saved_errno == ENOENT || saved_errno == ENOTDIR) {
    const std::string directory = path.contains('/') ? DirectoryOf(path) : ".";
    if (getxattr(directory.c_str(), "user.chainfs.version", nullptr, 0) >= 0) {
      return FailMounted(ENODATA,
                         fmt::format("{}: no such disk; `chainctl list {}` shows those that there "
                                     "are, and why others are missing",
                                     path, directory));
    }
    return FailMounted(ENODATA, fmt::format("{}: No such file or directory; is it mounted?", path));
  }
  return FailAt(saved_errno, path);
}

// The daemon's sentence for a command that it refused just now with `saved_errno`, if any.
std::optional<std::string> RefusalOf(const std::string& path, const std::string& attribute,
                                     int saved_errno) {
  const Result<json> last = ReadJsonAttribute(path, "error");
  if (!last || !last->is_object()) return std::nullopt;
  const std::string refused = TextOf(*last, "attribute");
  if (refused != attribute && "user.chainfs." + refused != attribute) return std::nullopt;
  // The kernel may have refused the call itself; then what is recorded is an older story.
  const std::optional<uint64_t> number = MaybeNumberOf(*last, "errno");
  const char* const name = strerrorname_np(saved_errno);
  const bool same = number ? *number == static_cast<uint64_t>(saved_errno)
                           : name != nullptr && TextOf(*last, "errno") == name;
  std::string message = TextOf(*last, "message");
  if (!same || message.empty()) return std::nullopt;
  return SafeText(message);
}

std::string ReasonOf(int saved_errno, std::string_view verb) {
  switch (saved_errno) {
    case EROFS:
      return "the mount is read-only for commands too; mount without `-o ro`";
    case EACCES:
    case EPERM:
      return "not permitted; commands are for root, and for the daemon's user and -o control_gid "
             "where they may write the file";
    case EOPNOTSUPP:
      return fmt::format("this daemon does not know `{}`; is it an older chainfs?", verb);
    default:
      return std::strerror(saved_errno);
  }
}

}  // namespace

std::unexpected<Error> FailDaemonGone(int saved_errno, std::string_view path) {
  return FailMounted(
      saved_errno,
      fmt::format("{}: the chainfs daemon is gone; `chainctl umount` the mount point and mount it "
                  "again, unfinished jobs resume",
                  path));
}

Result<std::string> ReadAttribute(const std::string& path, std::string_view name) {
  const std::string attribute = fmt::format("user.chainfs.{}", name);
  std::string value(kValueLimit, '\0');
  const ssize_t length = getxattr(path.c_str(), attribute.c_str(), value.data(), value.size());
  if (length < 0) {
    const int saved_errno = errno;
    if (saved_errno == EOPNOTSUPP) return FailNotOurs(path);  // a file system without attributes
    if (saved_errno == ENODATA) {
      return FailMounted(ENODATA, fmt::format("{}: has no attribute {}", path, attribute));
    }
    // The path was there when it was resolved: it has been unmounted since.
    if (saved_errno == ENOENT || saved_errno == ENOTDIR) {
      return FailMounted(
          ENOTCONN,
          fmt::format("{}: is no longer mounted; unfinished jobs resume with the next mount",
                      path));
    }
    return FailAt(saved_errno, path);
  }
  value.resize(static_cast<size_t>(length));
  return value;
}

Result<json> ReadJsonAttribute(const std::string& path, std::string_view name) {
  CHAINFS_ASSIGN(const std::string text, ReadAttribute(path, name));
  return ParseJson(text, fmt::format("{}: user.chainfs.{}", path, name));
}

Result<std::string> FindMount(const std::string& path) {
  CHAINFS_ASSIGN(std::string place, RealPath(path));
  while (true) {
    const Result<std::string> version = ReadAttribute(place, "version");
    if (version) return place;
    const int saved_errno = version.error().sys_errno;
    if (MeansDaemonGone(saved_errno)) return std::unexpected(version.error());
    if (saved_errno == EACCES || saved_errno == EPERM) return std::unexpected(version.error());
    if (place == "/") return FailNotOurs(path);
    place = DirectoryOf(place);
  }
}

Result<DiskPath> FindDisk(const std::string& path) {
  CHAINFS_ASSIGN(std::string real, RealPath(path));
  const Result<std::string> info = ReadAttribute(real, "info");
  if (!info) {
    if (info.error().sys_errno != ENODATA) return std::unexpected(info.error());
    if (ReadAttribute(real, "version")) {
      return FailMounted(ENODATA,
                         fmt::format("{}: is a mount point; name one of the disks in it", path));
    }
    return FailNotOurs(path);
  }
  CHAINFS_ASSIGN(std::string mount, FindMount(DirectoryOf(real)));
  return DiskPath{.path = std::move(real), .mount = std::move(mount), .shown = path};
}

bool IsOutOfSight(const Error& error) {
  return error.sys_errno == EACCES || error.sys_errno == EPERM;
}

Result<std::vector<std::string>> MountsOrAll(const std::optional<std::string>& given) {
  if (given) {
    CHAINFS_ASSIGN(std::string mount, FindMount(*given));
    return std::vector<std::string>{std::move(mount)};
  }
  return ChainfsMounts();
}

Status Send(const DiskPath& disk, const Command& command) {
  if (command.verbose) {
    fmt::print(stderr, "{}\n", SetfattrLine(command.verb, command.value, disk.shown));
  }
  const std::string attribute = "user.chainfs." + command.verb;
  if (setxattr(disk.path.c_str(), attribute.c_str(), command.value.data(), command.value.size(),
               0) == 0) {
    return {};
  }
  const int saved_errno = errno;
  if (MeansDaemonGone(saved_errno)) return FailDaemonGone(saved_errno, disk.shown);
  const std::optional<std::string> refusal = RefusalOf(disk.path, attribute, saved_errno);
  return FailMounted(
      saved_errno,
      fmt::format("{}: {}", disk.shown, refusal ? *refusal : ReasonOf(saved_errno, command.verb)));
}

Result<std::string> ReadVirtualFile(const std::string& mount, const std::string& name) {
  const std::string path = mount + "/.chainfs/" + name;
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return FailAt(errno, path);
  std::string text;
  std::array<char, 65536> buffer = {};
  while (true) {
    const ssize_t got = read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailAt(errno, path);
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
}

Result<json> ReadJsonFile(const std::string& mount, const std::string& name) {
  CHAINFS_ASSIGN(const std::string text, ReadVirtualFile(mount, name));
  return ParseJson(text, mount + "/.chainfs/" + name);
}

Status SyncDisk(const DiskPath& disk) {
  const UniqueFd file(open(disk.path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return FailAt(errno, disk.shown);
  if (fsync(file.get()) != 0) {
    const int saved_errno = errno;
    return std::unexpected(WithContext(FailAt(saved_errno, disk.shown).error(), "fsync"));
  }
  return {};
}

Result<json> WaitUntilUsable(const DiskPath& disk) {
  constexpr int kTries = 40;
  for (int i = 1;; ++i) {
    CHAINFS_ASSIGN(json info, ReadJsonAttribute(disk.path, "info"));
    struct stat st = {};
    const bool shown = ::stat(disk.path.c_str(), &st) == 0 &&
                       static_cast<uint64_t>(st.st_size) == NumberOf(info, "virtual-size");
    if ((shown && !FlagOf(info, "read-only")) || i == kTries) return info;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace chainfs::chainctl
