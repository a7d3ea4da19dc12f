// SPDX-License-Identifier: Apache-2.0
//
// Who keeps a mount busy, or keeps its daemon alive after an unmount: processes with an open or
// mapped file or a directory in it, loop devices and swap on its disks, mounts on top of it, and
// other mount namespaces that have it too.
//
// By the device number of the mount, which every namespace and a dead daemon's mount have; nothing
// here asks the file system itself, so nothing waits for a daemon that hangs. An ordinary user sees
// his own processes only.
#pragma once

#include <string>
#include <vector>

namespace chainfs::chainctl {

struct Holder {
  enum class Kind : unsigned char { kProcess, kLoop, kSwap, kMount, kNamespace };
  Kind kind = Kind::kProcess;
  int pid = 0;               // kProcess, kNamespace: the lowest of that namespace
  std::string command = {};  // its name
  std::string what;          // the file, the device, or where it is mounted
  bool events = false;       // an open .chainfs/events and nothing else
};

struct HolderRoots {
  std::string proc = "/proc";
  std::string sys = "/sys";
};

// The device number of the mount point as this process sees it; empty if nothing is mounted there.
std::string DeviceOfMount(const std::string& mount, const HolderRoots& roots = {});
// The process that serves the FUSE file system of that device number; 0 if it cannot be seen, or
// the kernel does not tell (an old one).
int DaemonOf(const std::string& device, const HolderRoots& roots = {});
// `mount` is the path that is to be freed; processes of this program itself are left out.
std::vector<Holder> FindHolders(const std::string& mount, const std::string& device,
                                const HolderRoots& roots = {});
// Processes that have the host file open, for an image that somebody has locked.
std::vector<Holder> OpenersOf(const std::string& path, const HolderRoots& roots = {});
// "qemu-system-x86 (pid 4711: /mnt/vm1.raw), /dev/loop0 (on /mnt/vm2.raw)"; a few, then how many
// more.
std::string HoldersText(const std::vector<Holder>& holders);

}  // namespace chainfs::chainctl
