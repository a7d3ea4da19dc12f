// SPDX-License-Identifier: Apache-2.0
//
// Loop devices on a disk that was resized: the daemon tells them where it may, and the user of the
// command where that one may.
#pragma once

#include <string>
#include <vector>

namespace chainfs::chainctl {

struct ToldLoops {
  std::vector<std::string> told;    // "/dev/loop0": has the file's size now
  std::vector<std::string> missed;  // those that this user may not tell, or that would not listen
};

// Every loop device on the file `path`, found by what the kernel says of them. One in another mount
// namespace may be among `missed` for want of a device file.
ToldLoops TellLoopDevices(const std::string& path);

}  // namespace chainfs::chainctl
