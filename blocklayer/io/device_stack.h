// SPDX-License-Identifier: Apache-2.0
//
// DeviceStack: what a file system stands on: its block device, the devices that this one is made
// of, and the files behind loop devices, by what /sys and the list of mounts tell (sysfs(5),
// Documentation/ABI/testing/sysfs-block, sysfs-block-loop). No file system is asked, so none can
// make the caller wait.
//
// What it cannot see: a network file system that this host serves itself, a FUSE file system that
// shows another one.
//
// Threads: no state that changes.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/mountinfo.h"

namespace chainfs {

class DeviceStack {
 public:
  // `sys`: where sysfs is.
  explicit DeviceStack(std::vector<MountEntry> mounts, std::filesystem::path sys = "/sys");

  // Whether the mount with the number `mount` (MountEntry::id) is of the file system `device`, or
  // stands on files there.
  bool StandsOn(const std::string& mount, dev_t device) const;

 private:
  bool MountStandsOn(const MountEntry& mount, const std::string& device, int depth) const;
  bool BlockStandsOn(const std::filesystem::path& block, const std::string& device,
                     int depth) const;
  // The one that shows `path`; null when none does.
  const MountEntry* MountOf(std::string_view path) const;

  const std::vector<MountEntry> mounts_;
  const std::filesystem::path sys_;
};

// The same for what `fd` has open, O_PATH or not. False where the host does not tell.
bool StandsOnDevice(int fd, dev_t device);

}  // namespace chainfs
