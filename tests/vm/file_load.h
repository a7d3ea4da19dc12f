// SPDX-License-Identifier: Apache-2.0
//
// A thread that writes, replaces, removes and verifies checked files, through the page cache and
// with fsync. What they must hold it keeps in memory, where no disk can be wrong about it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>

#include "blocklayer/base/sync.h"
#include "tests/vm/console.h"

namespace chainfs::guest {

class FileLoad {
 public:
  explicit FileLoad(std::string directory) : directory_(std::move(directory)) {}

  void Start();
  void Stop();
  // Reads every file from the disk. Fails the guest if one is not as it was written last.
  void Verify() EXCLUDES(mu_);
  // Files written, each with fsync.
  Longest& writes() { return writes_; }

 private:
  struct Contents {
    uint64_t seed;
    size_t words;
  };

  void Loop();
  void Write(const std::string& name) EXCLUDES(mu_);
  void Remove(const std::string& name) EXCLUDES(mu_);
  void Check(const std::string& name) EXCLUDES(mu_);
  void CheckLocked(const std::string& name) REQUIRES(mu_);
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }

  const std::string directory_;
  std::atomic<bool> stop_ = false;
  uint64_t step_ = 0;  // the thread's
  // Held across a change of a file, so that who verifies all meets none.
  Mutex mu_;
  std::map<std::string, Contents> files_ GUARDED_BY(mu_);
  Longest writes_;
  std::thread thread_;
};

}  // namespace chainfs::guest
