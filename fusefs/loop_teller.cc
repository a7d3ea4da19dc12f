// SPDX-License-Identifier: Apache-2.0
#include "fusefs/loop_teller.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <utility>
#include <vector>

#include "blocklayer/base/loop_devices.h"
#include "blocklayer/base/mountinfo.h"

namespace chainfs::fusefs {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kLongest{10};
constexpr std::chrono::duration<int, std::milli> kLookEvery{10};

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

void LoopTeller::Start(const std::string& device, TellFunction tell) {
  if (::geteuid() != 0) return;
  tell_ = std::move(tell);
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
  if (AwaitAnswer(tell_(task)) || Stopped()) return;
  for (const BoundLoop& loop : task.loops) {
    spdlog::warn("{}, on {}, may not have the new size; as root: losetup -c {}", loop.device,
                 loop.backing, loop.device);
  }
}

bool LoopTeller::AwaitAnswer(const UniqueFd& answer) {
  const auto deadline = Clock::now() + kLongest;
  while (answer.valid() && Clock::now() < deadline && !Stopped()) {
    pollfd wanted = {.fd = answer.get(), .events = POLLIN, .revents = 0};
    if (::poll(&wanted, 1, kLookEvery.count()) <= 0) continue;
    return (wanted.revents & POLLIN) != 0;
  }
  return false;
}

}  // namespace chainfs::fusefs
