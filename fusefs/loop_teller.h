// SPDX-License-Identifier: Apache-2.0
//
// LoopTeller: has loop devices on our disks take the new size of a disk that was resized, whoever
// gave the command; the kernel tells them nothing. Only as root. A helper process does what asks
// our own mount (loop_helper.h), so that no thread of ours can wait for ourselves: a thread finds
// the devices, which asks no file system, starts the helper and waits for it, or kills it.
//
// Foreign loop devices are left alone: by the path of its file a device must lie on this mount, and
// on no other that is mounted at the same place, before anything is asked of it; then its file must
// be the disk. So those that were bound in another mount namespace are not told.
//
// Threads: all methods, any thread, but Start and Stop, which belong to the main thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <thread>

#include "blocklayer/base/sync.h"
#include "fusefs/helper_process.h"

namespace chainfs::fusefs {

class LoopTeller {
 public:
  // Whose process helps: it is given the words of a task.
  explicit LoopTeller(std::string program = HelperProcess::kOurselves)
      : program_(std::move(program)) {}
  ~LoopTeller() { Stop(); }

  // `device` of the mount, "0:52". Does nothing where we are not root.
  void Start(const std::string& device);
  // The disk that stat shows as `inode` has `size` bytes now. Before Start, nobody is told.
  void SizeChanged(uint64_t inode, uint64_t size) EXCLUDES(mu_);
  // After the connection has ended, so that a helper which asks it has its answer. What waits to be
  // told is dropped.
  void Stop() EXCLUDES(mu_);

 private:
  void Loop(const std::string& device) EXCLUDES(mu_);
  void Tell(const std::string& device, uint64_t inode, uint64_t size) EXCLUDES(mu_);
  // Its exit code; -1 when it was killed, at the end of the session or because it took too long.
  int AwaitEnd(HelperProcess& helper) EXCLUDES(mu_);
  bool Stopped() EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    return !running_;
  }

  const std::string program_;
  Mutex mu_;
  CondVar news_;
  std::map<uint64_t, uint64_t> sizes_ GUARDED_BY(mu_);  // to be told, by inode
  bool running_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace chainfs::fusefs
