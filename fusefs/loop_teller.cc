// SPDX-License-Identifier: Apache-2.0
#include "fusefs/loop_teller.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <utility>
#include <vector>

#include "blocklayer/base/loop_devices.h"
#include "blocklayer/base/mountinfo.h"
#include "fusefs/loop_helper.h"

namespace chainfs::fusefs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLongest{10};
constexpr std::chrono::milliseconds kLookEvery{10};

// Those whose files lie on the mount.
std::vector<BoundLoop> LoopsOn(const std::string& device) {
  std::vector<BoundLoop> loops = BoundLoops();
  if (loops.empty()) return loops;
  const Result<std::vector<MountEntry>> mounts = OwnMounts();
  if (!mounts) return {};
  std::erase_if(
      loops, [&](const BoundLoop& loop) { return DeviceOfPath(*mounts, loop.backing) != device; });
  return loops;
}

}  // namespace

void LoopTeller::Start(const std::string& device) {
  if (::geteuid() != 0) return;
  {
    const MutexLock lock(mu_);
    running_ = true;
  }
  thread_ = std::thread([this, device] { Loop(device); });
}

void LoopTeller::SizeChanged(uint64_t inode, uint64_t size) {
  const MutexLock lock(mu_);
  if (!running_) return;
  sizes_[inode] = size;
  news_.NotifyAll();
}

void LoopTeller::Stop() {
  {
    const MutexLock lock(mu_);
    running_ = false;
    sizes_.clear();
    news_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void LoopTeller::Loop(const std::string& device) {
  for (;;) {
    std::pair<uint64_t, uint64_t> next;
    {
      const MutexLock lock(mu_);
      while (running_ && sizes_.empty()) news_.Wait(mu_);
      if (!running_) return;
      next = *sizes_.begin();
      sizes_.erase(sizes_.begin());
    }
    Tell(device, next.first, next.second);
  }
}

void LoopTeller::Tell(const std::string& device, uint64_t inode, uint64_t size) {
  const LoopTask task = {.device = device, .inode = inode, .size = size, .loops = LoopsOn(device)};
  if (task.loops.empty()) return;
  std::vector<std::string> words = WordsOf(task);
  words.insert(words.begin(), "chainfs");
  HelperProcess helper;
  const int code = helper.Start(program_, std::move(words), {}) ? AwaitEnd(helper) : -1;
  if (code == 0 || Stopped()) return;
  for (const BoundLoop& loop : task.loops) {
    spdlog::warn("{}, on {}, may not have the new size; as root: losetup -c {}", loop.device,
                 loop.backing, loop.device);
  }
}

int LoopTeller::AwaitEnd(HelperProcess& helper) {
  const auto deadline = Clock::now() + kLongest;
  for (;;) {
    if (const std::optional<int> code = helper.Ended()) return *code;
    const MutexLock lock(mu_);
    if (!running_ || Clock::now() >= deadline) break;
    (void)news_.WaitUntil(mu_, Clock::now() + kLookEvery);
  }
  helper.End();
  return -1;
}

}  // namespace chainfs::fusefs
