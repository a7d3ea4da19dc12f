// SPDX-License-Identifier: Apache-2.0
//
// Which of what is mounted are mounts of chainfs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

// Mount points of type fuse.chainfs, oldest first, each once (a mount hidden under another of the
// same place is left out). `mountinfo` is the text of /proc/PID/mountinfo.
std::vector<std::string> ChainfsMountsIn(std::string_view mountinfo);
// Of this process.
Result<std::vector<std::string>> ChainfsMounts();

}  // namespace chainfs::chainctl
