// SPDX-License-Identifier: Apache-2.0
//
// What a child of the keeper does for LoopTeller: loop devices on one of our disks take its new
// size. Asking the kernel for that asks our own mount, which is why no thread of the daemon does
// it.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/loop_devices.h"

namespace chainfs::fusefs {

struct LoopTask {
  std::string device;  // of the mount, "0:52"
  uint64_t inode = 0;  // of the disk, as stat shows it
  uint64_t size = 0;   // of the disk, in bytes
  std::vector<BoundLoop> loops;
};

// For a message to the keeper.
std::vector<std::string> WordsOf(const LoopTask& task);
// Nothing when the words, all of them, are not those of a task.
std::optional<LoopTask> LoopTaskOf(const std::vector<std::string>& words);

// Tells those of the loop devices that are on the disk. 0 when all have the size within a few
// seconds, else 1.
int CarryOut(const LoopTask& task);

}  // namespace chainfs::fusefs
