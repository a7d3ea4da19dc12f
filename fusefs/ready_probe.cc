// SPDX-License-Identifier: Apache-2.0
#include "fusefs/ready_probe.h"

#include <sys/vfs.h>

#include <utility>

namespace chainfs::fusefs {

ReadyProbe::ReadyProbe(const std::string& mountpoint, std::function<void()> ready)
    : thread_([mountpoint, ready = std::move(ready)] {
        struct statfs fs = {};
        if (::statfs(mountpoint.c_str(), &fs) == 0) ready();
      }) {}

}  // namespace chainfs::fusefs
