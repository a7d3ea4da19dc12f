// SPDX-License-Identifier: Apache-2.0
#include "fusefs/keeper.h"

#include <sys/vfs.h>

#include <chrono>

#include "fusefs/fuse_ops.h"
#include "fusefs/mount_table.h"

namespace chainfs::fusefs {
namespace {

constexpr std::chrono::seconds kFlushInterval(5);
// A flush that fails (no space) reports that each time, so it is not tried as often.
constexpr std::chrono::seconds kRetryInterval(30);

}  // namespace

Keeper::Keeper(MountState& state, std::function<void()> ready)
    : state_(state), ready_(std::move(ready)) {}

Keeper::~Keeper() { Stop(); }

void Keeper::Start() {
  thread_ = std::thread([this] { Loop(); });
}

void Keeper::Stop() {
  {
    const MutexLock lock(mu_);
    stop_ = true;
  }
  stopped_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Keeper::Loop() {
  // Answered by the serving threads, or failed by the end of the connection.
  struct statfs fs = {};
  if (::statfs(state_.options.mountpoint.c_str(), &fs) == 0) {
    if (const std::optional<std::string> device = MountDevice(state_.options.mountpoint)) {
      RaiseReadAhead(*device, kMaxTransfer / 1024);
    }
    ready_();
  }
  while (Pause()) FlushChanged();
}

bool Keeper::Pause() {
  const auto deadline = std::chrono::steady_clock::now() + kFlushInterval;
  const MutexLock lock(mu_);
  while (!stop_) {
    if (!stopped_.WaitUntil(mu_, deadline)) break;
  }
  return !stop_;
}

void Keeper::FlushChanged() {
  const auto now = std::chrono::steady_clock::now();
  std::map<uint64_t, std::chrono::steady_clock::time_point> failed;
  for (const NodePtr& node : state_.inodes.List(NodeKind::kRoot)) {
    const auto before = failed_.find(node->ino);
    if (before != failed_.end() && now - before->second < kRetryInterval) {
      failed.insert(*before);
      continue;
    }
    if (!node->disk->NeedsFlush()) continue;
    // A failure has reached the log and the events by the disk's observer.
    if (!node->disk->Settle()) failed[node->ino] = now;
  }
  failed_ = std::move(failed);
}

}  // namespace chainfs::fusefs
