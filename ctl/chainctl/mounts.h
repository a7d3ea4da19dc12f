// SPDX-License-Identifier: Apache-2.0
//
// What is mounted, by the text of /proc/PID/mountinfo; which of it are mounts of chainfs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

struct MountEntry {
  std::string id;      // of the mount, as fdinfo's mnt_id has it
  std::string device;  // "MAJOR:MINOR" of the file system, the same in every namespace
  std::string path;
  std::string type;    // "fuse.chainfs"
  std::string source;  // "/dev/loop0"
};

// In the order of the text: what is mounted later hides what is mounted before on the same path.
std::vector<MountEntry> ParseMountinfo(std::string_view mountinfo);

// Mount points of type fuse.chainfs, oldest first, each once (a mount hidden under another of the
// same place is left out). `mountinfo` is the text of /proc/PID/mountinfo.
std::vector<std::string> ChainfsMountsIn(std::string_view mountinfo);
// Of this process.
Result<std::vector<std::string>> ChainfsMounts();

}  // namespace chainfs::chainctl
