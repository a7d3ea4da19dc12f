// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/device_stack.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <fstream>
#include <system_error>
#include <utility>

#include "blocklayer/base/paths.h"

namespace chainfs {
namespace {

constexpr int kDeepest = 16;

std::string DeviceText(dev_t device) {
  return fmt::format("{}:{}", ::major(device), ::minor(device));
}

// Where sysfs describes the block device that `mount` is on; empty where it is on none.
std::filesystem::path BlockOf(const MountEntry& mount, const std::filesystem::path& sys) {
  if (!mount.device.starts_with("0:")) return sys / "dev/block" / mount.device;
  // These have numbers of their own, and name a device of theirs.
  if (mount.type != "btrfs" && mount.type != "bcachefs") return {};
  if (!mount.source.starts_with("/dev/")) return {};
  std::error_code error;
  const std::filesystem::path link = std::filesystem::read_symlink(mount.source, error);
  return sys / "class/block" / std::string(BaseName(error ? mount.source : link.native()));
}

}  // namespace

DeviceStack::DeviceStack(std::vector<MountEntry> mounts, std::filesystem::path sys)
    : mounts_(std::move(mounts)), sys_(std::move(sys)) {}

bool DeviceStack::StandsOn(const std::string& mount, dev_t device) const {
  const auto found = std::ranges::find(mounts_, mount, &MountEntry::id);
  return found != mounts_.end() && MountStandsOn(*found, DeviceText(device), 0);
}

const MountEntry* DeviceStack::MountOf(std::string_view path) const {
  const MountEntry* best = nullptr;
  for (const MountEntry& mount : mounts_) {
    const std::string_view point = mount.path;
    const bool holds = point == "/" || (path.starts_with(point) &&
                                        (path.size() == point.size() || path[point.size()] == '/'));
    // Of several at one place the last one is on top.
    if (holds && (best == nullptr || point.size() >= best->path.size())) best = &mount;
  }
  return best;
}

bool DeviceStack::MountStandsOn(const MountEntry& mount, const std::string& device,
                                int depth) const {
  if (mount.device == device) return true;
  if (depth == kDeepest) return false;
  const std::filesystem::path block = BlockOf(mount, sys_);
  return !block.empty() && BlockStandsOn(block, device, depth + 1);
}

bool DeviceStack::BlockStandsOn(const std::filesystem::path& block, const std::string& device,
                                int depth) const {
  if (depth == kDeepest) return false;
  std::error_code error;
  const std::filesystem::path at = std::filesystem::canonical(block, error);
  if (error) return false;
  // The device of a partition is the directory above.
  if (std::filesystem::exists(at / "partition", error)) {
    return BlockStandsOn(at.parent_path(), device, depth + 1);
  }
  std::ifstream loop(at / "loop/backing_file");
  std::string file;
  if (std::getline(loop, file)) {
    const MountEntry* const mount = MountOf(file);
    return mount != nullptr && MountStandsOn(*mount, device, depth + 1);
  }
  for (const auto& slave : std::filesystem::directory_iterator(at / "slaves", error)) {
    if (BlockStandsOn(slave.path(), device, depth + 1)) return true;
  }
  return false;
}

bool StandsOnDevice(int fd, dev_t device) {
  struct statx known = {};
  constexpr int kAsIs = AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
  if (::statx(fd, "", kAsIs, STATX_MNT_ID, &known) != 0) return false;
  if (::makedev(known.stx_dev_major, known.stx_dev_minor) == device) return true;
  Result<std::vector<MountEntry>> mounts = OwnMounts();
  if (!mounts || (known.stx_mask & STATX_MNT_ID) == 0) return false;
  return DeviceStack(*std::move(mounts)).StandsOn(fmt::format("{}", known.stx_mnt_id), device);
}

}  // namespace chainfs
