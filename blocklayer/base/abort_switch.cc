// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/abort_switch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

namespace chainfs {
namespace {

constexpr const char* kConnections = "/sys/fs/fuse/connections";
constexpr uint32_t kFusectlMagic = 0x65735543;  // the kernel's fs/fuse/control.c

// Within fusectl; empty for what is no FUSE mount.
std::string SwitchOf(std::string_view device) {
  return device.starts_with("0:") ? fmt::format("{}/abort", device.substr(2)) : std::string();
}

UniqueFd MountApart() {
  const UniqueFd context(::fsopen("fusectl", FSOPEN_CLOEXEC));
  if (!context.valid() ||
      ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return UniqueFd();
  }
  return UniqueFd(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
}

}  // namespace

UniqueFd OpenAbortSwitch(const std::string& device) {
  const std::string name = SwitchOf(device);
  if (name.empty()) return UniqueFd();
  UniqueFd opened(::open(fmt::format("{}/{}", kConnections, name).c_str(), O_WRONLY | O_CLOEXEC));
  if (opened.valid()) return opened;
  const UniqueFd apart = MountApart();
  if (!apart.valid()) return UniqueFd();
  return UniqueFd(::openat(apart.get(), name.c_str(), O_WRONLY | O_CLOEXEC));
}

bool AbortConnection(const UniqueFd& abort_switch) {
  return abort_switch.valid() && ::write(abort_switch.get(), "1", 1) == 1;
}

bool IsAbortSwitch(const std::string& fd, std::string_view device) {
  const std::string name = SwitchOf(device);
  std::error_code gone;
  const std::string link = std::filesystem::read_symlink(fd, gone).string();
  if (name.empty() || gone) return false;
  if (link == fmt::format("{}/{}", kConnections, name)) return true;
  // Of a file system that is mounted nowhere the name begins with its root.
  struct statfs fs = {};
  return link == "/" + name && ::statfs(fd.c_str(), &fs) == 0 &&
         static_cast<uint32_t>(fs.f_type) == kFusectlMagic;
}

}  // namespace chainfs
