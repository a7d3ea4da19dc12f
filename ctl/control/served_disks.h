// SPDX-License-Identifier: Apache-2.0
//
// ServedDisks: the disks that are served, each with what is remembered of its use. Every transport
// (files of a mount, a socket) counts here, so that all of them show the same.
//
// Invariant: CTL-1 (README.md).
//
// Threads: all methods, any thread. mu_ is held for map operations only; it is a leaf.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/disk.h"

namespace chainfs::control {

struct ServedDisk {
  explicit ServedDisk(DiskPtr which) : disk(std::move(which)) {}

  const DiskPtr disk;
  // The second (of any clock) of the last I/O error that was logged and published.
  std::atomic<int64_t> last_report = -1;

  mutable Mutex mu;
  std::string last_error GUARDED_BY(mu);  // of LastErrors
};
using ServedDiskPtr = std::shared_ptr<ServedDisk>;

class ServedDisks {
 public:
  struct Added {
    ServedDiskPtr served;
    bool is_new;
  };
  // The entry of `disk`, made when there is none; it takes the place of another of that name.
  Added Add(const DiskPtr& disk) EXCLUDES(mu_);
  // False when it is not there; its name may lead to another one already.
  bool Remove(const Disk& disk) EXCLUDES(mu_);

  // Null when there is none.
  ServedDiskPtr Find(std::string_view name) const EXCLUDES(mu_);
  ServedDiskPtr Find(const Disk& disk) const EXCLUDES(mu_);
  std::vector<ServedDiskPtr> List() const EXCLUDES(mu_);  // sorted by name

 private:
  mutable Mutex mu_;
  std::map<std::string, ServedDiskPtr, std::less<>> disks_ GUARDED_BY(mu_);  // by name
};

}  // namespace chainfs::control
