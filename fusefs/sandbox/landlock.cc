// SPDX-License-Identifier: Apache-2.0
#include "fusefs/sandbox/landlock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <string_view>

#include "blocklayer/base/unique_fd.h"

namespace chainfs::sandbox {
namespace {

// What Debian 12's headers do not have yet (include/uapi/linux/landlock.h of Linux 6.12).
constexpr uint64_t kTruncate = uint64_t{1} << 14;  // ABI 3
constexpr uint64_t kBindTcp = uint64_t{1} << 0;    // ABI 4
constexpr uint64_t kConnectTcp = uint64_t{1} << 1;
constexpr uint64_t kScopeSignal = uint64_t{1} << 1;  // ABI 6

struct RulesetAttributes {
  uint64_t handled_access_fs = 0;
  uint64_t handled_access_net = 0;  // from ABI 4 on
  uint64_t scoped = 0;              // from ABI 6 on
};

constexpr uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
// Images and records are regular files.
constexpr uint64_t kChange = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                             LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR |
                             LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER | kTruncate;
constexpr uint64_t kMakeSockets =
    LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REMOVE_FILE;
// Rights that a rule on a file may name.
constexpr uint64_t kOfFiles =
    LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;

// Everything that ABI knows, so that what no rule permits is refused. Not the control of devices
// (ABI 5): the filter of system calls has it.
uint64_t HandledBy(long abi) {
  uint64_t handled = (uint64_t{LANDLOCK_ACCESS_FS_MAKE_SYM} << 1) - 1;
  if (abi >= 2) handled |= LANDLOCK_ACCESS_FS_REFER;
  if (abi >= 3) handled |= kTruncate;
  return handled;
}

// Of the host, what the process itself reads: mounts, callers' groups and block devices, the time
// zone, libraries that are loaded late; and what it opens for each thread that serves.
struct SystemPath {
  std::string_view path;
  uint64_t rights;
};
constexpr std::array kSystem = {
    SystemPath{"/proc", kRead},
    SystemPath{"/sys", kRead},
    SystemPath{"/usr", kRead},
    SystemPath{"/lib", kRead},
    SystemPath{"/lib64", kRead},
    SystemPath{"/etc/localtime", kRead},
    SystemPath{"/etc/ld.so.cache", kRead},
    SystemPath{"/etc/ssl/openssl.cnf", kRead},
    SystemPath{"/dev/null", kRead | LANDLOCK_ACCESS_FS_WRITE_FILE},
    SystemPath{"/dev/urandom", kRead},
    SystemPath{"/dev/fuse", kRead | LANDLOCK_ACCESS_FS_WRITE_FILE},
};

// Adds rules; remembers the first failure.
class Rules {
 public:
  Rules(int ruleset, uint64_t handled) : ruleset_(ruleset), handled_(handled) {}

  void Permit(std::string_view path, uint64_t rights) {
    const std::string name(path);
    const UniqueFd fd(::open(name.c_str(), O_PATH | O_CLOEXEC));
    struct stat st = {};
    if (!fd.valid() || ::fstat(fd.get(), &st) != 0) return;
    rights &= S_ISDIR(st.st_mode) ? handled_ : handled_ & kOfFiles;
    const landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd.get()};
    if (::syscall(SYS_landlock_add_rule, ruleset_, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0 &&
        done_) {
      done_ = FailErrno(errno, fmt::format("sandbox: {}", path));
    }
  }
  const Status& done() const { return done_; }

 private:
  const int ruleset_;
  const uint64_t handled_;
  Status done_;
};

}  // namespace

Result<bool> RestrictFiles(const Policy& policy) {
  const long abi =
      ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (abi < 1) return false;
  RulesetAttributes attributes = {.handled_access_fs = HandledBy(abi)};
  size_t size = sizeof attributes.handled_access_fs;
  if (abi >= 4) {
    attributes.handled_access_net = kBindTcp | kConnectTcp;
    size += sizeof attributes.handled_access_net;
  }
  if (abi >= 6) {
    attributes.scoped = kScopeSignal;
    size += sizeof attributes.scoped;
  }
  const UniqueFd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset.valid()) return FailErrno(errno, "sandbox: Landlock");
  Rules rules(ruleset.get(), attributes.handled_access_fs);
  for (const SystemPath& system : kSystem) rules.Permit(system.path, system.rights);
  for (const std::string& path : policy.read) rules.Permit(path, kRead);
  for (const std::string& path : policy.written) rules.Permit(path, kRead | kChange);
  for (const std::string& path : policy.sockets) rules.Permit(path, kMakeSockets);
  CHAINFS_TRY(rules.done());
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) {
    return FailErrno(errno, "sandbox: Landlock");
  }
  return true;
}

}  // namespace chainfs::sandbox
