// SPDX-License-Identifier: Apache-2.0
//
// What is mounted, by the text of /proc/PID/mountinfo (proc_pid_mountinfo(5)), which libmount
// reads.
//
// Threads: no state.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs {

struct MountEntry {
  std::string id;      // of the mount, as fdinfo's mnt_id has it
  std::string device;  // "MAJOR:MINOR" of the file system, the same in every namespace
  std::string path;
  std::string type;    // "fuse.chainfs"
  std::string source;  // "/dev/loop0"
};

// In the order of the text: what is mounted later hides what is mounted before on the same path.
// A line after the first that is not as it should be is passed over.
std::vector<MountEntry> ParseMountinfo(std::string text);
// The device of the file system on which `path` (absolute, without symbolic links) lies; empty when
// that is not certain, because file systems are mounted one above the other there and a file that
// was opened earlier may lie on either.
std::string DeviceOfPath(const std::vector<MountEntry>& mounts, const std::string& path);
// Of this process.
Result<std::vector<MountEntry>> OwnMounts();

}  // namespace chainfs
