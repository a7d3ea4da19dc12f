// SPDX-License-Identifier: Apache-2.0
//
// Which chainfs mounts this process can see, by /proc/self/mountinfo.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs {

// Mount points of type fuse.chainfs, oldest first, each once (a mount hidden under another of the
// same place is left out). `mountinfo` is the text of /proc/PID/mountinfo.
std::vector<std::string> ChainfsMountsIn(std::string_view mountinfo);
Result<std::vector<std::string>> ChainfsMounts();

}  // namespace chainfs
