// SPDX-License-Identifier: Apache-2.0
//
// LoopTeller: has loop devices on our disks take the new size of a disk that was resized, whoever
// gave the command; the kernel tells them nothing. Only as root. The keeper does what asks our own
// mount (keeper.h, loop_helper.h), so that no thread of ours can wait for ourselves: a thread finds
// the devices, which asks no file system, and waits for the keeper, but not for long.
//
// Foreign loop devices are left alone: by the path of its file a device must lie on this mount, and
// on no other that is mounted at the same place, before anything is asked of it; then its file must
// be the disk. So those that were bound in another mount namespace are not told.
//
// Threads: all methods, any thread, but Start and Stop, which belong to the main thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "blocklayer/base/sync.h"
#include "blocklayer/base/unique_fd.h"
#include "fusefs/loop_helper.h"

namespace chainfs::fusefs {

class LoopTeller {
 public:
  // As Keeper::TellLoops: what it returns has bytes when all were told, and ends.
  using TellFunction = std::function<UniqueFd(const LoopTask& task)>;

  LoopTeller() = default;
  ~LoopTeller() { Stop(); }

  // `device` of the mount, "0:52". Does nothing where we are not root.
  void Start(const std::string& device, TellFunction tell);
  // The disk that stat shows as `inode` has `size` bytes now. Before Start, nobody is told.
  void SizeChanged(uint64_t inode, uint64_t size) EXCLUDES(mu_);
  // What waits to be told is dropped.
  void Stop() EXCLUDES(mu_);

 private:
  void Loop(const std::string& device) EXCLUDES(mu_);
  void Tell(const std::string& device, uint64_t inode, uint64_t size) EXCLUDES(mu_);
  // Whether it says that all were told, before the end of the session and within a time.
  bool AwaitAnswer(const UniqueFd& answer) EXCLUDES(mu_);
  bool Stopped() EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    return !running_;
  }

  TellFunction tell_;
  Mutex mu_;
  CondVar news_;
  std::map<uint64_t, uint64_t> sizes_ GUARDED_BY(mu_);  // to be told, by inode
  bool running_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace chainfs::fusefs
