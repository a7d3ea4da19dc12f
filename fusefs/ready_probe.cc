// SPDX-License-Identifier: Apache-2.0
#include "fusefs/ready_probe.h"

#include <sys/vfs.h>

#include <utility>

#include "fusefs/without_files.h"

namespace chainfs::fusefs {

ReadyProbe::ReadyProbe(const std::string& mountpoint, std::function<void()> ready)
    : thread_([mountpoint, ready = std::move(ready)] {
        bool answered = false;
        RunWithoutFiles([&] {
          struct statfs fs = {};
          answered = ::statfs(mountpoint.c_str(), &fs) == 0;
        });
        if (answered) ready();
      }) {}

}  // namespace chainfs::fusefs
