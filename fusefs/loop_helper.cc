// SPDX-License-Identifier: Apache-2.0
#include "fusefs/loop_helper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "blocklayer/base/text_values.h"
#include "fusefs/mount_table.h"

namespace chainfs::fusefs {
namespace {

constexpr std::chrono::seconds kWithin{3};
constexpr unsigned kEndsAfter = 10;  // seconds, whatever it waits for

}  // namespace

std::vector<std::string> WordsOf(const LoopTask& task) {
  std::vector<std::string> words = {task.device, fmt::format("{}", task.inode),
                                    fmt::format("{}", task.size)};
  for (const BoundLoop& loop : task.loops) {
    words.push_back(loop.device);
    words.push_back(loop.backing);
  }
  return words;
}

std::optional<LoopTask> LoopTaskOf(const std::vector<std::string>& words) {
  if (words.size() < 3 || words.size() % 2 == 0) return std::nullopt;
  const std::optional<uint64_t> inode = ParseNumber(words[1]);
  const std::optional<uint64_t> size = ParseNumber(words[2]);
  if (!inode || !size) return std::nullopt;
  LoopTask task = {.device = words[0], .inode = *inode, .size = *size, .loops = {}};
  for (size_t i = 3; i < words.size(); i += 2) {
    task.loops.push_back({.device = words[i], .backing = words[i + 1]});
  }
  return task;
}

int CarryOut(const LoopTask& task) {
  ::alarm(kEndsAfter);
  const dev_t mount = DeviceNumber(task.device);
  const auto deadline = std::chrono::steady_clock::now() + kWithin;
  std::vector<BoundLoop> left = task.loops;
  for (;;) {
    std::erase_if(left, [&](const BoundLoop& loop) {
      // Older kernels take the size that they remember, and that may just be on its way.
      struct statx fresh = {};
      (void)::statx(AT_FDCWD, loop.backing.c_str(), AT_STATX_FORCE_SYNC | AT_SYMLINK_NOFOLLOW,
                    STATX_SIZE, &fresh);
      const LoopAnswer answer = TellLoop(loop.device, mount, task.inode, task.size);
      return answer == LoopAnswer::kTold || answer == LoopAnswer::kOtherFile;
    });
    if (left.empty()) return 0;
    if (std::chrono::steady_clock::now() >= deadline) return 1;
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
  }
}

}  // namespace chainfs::fusefs
