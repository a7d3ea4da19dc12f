// SPDX-License-Identifier: Apache-2.0
//
// DiskErrors: tells one observer of the failures of a disk that are not the caller's own fault.
//
// Threads: all methods, any thread; mu_ is a leaf. The observer is called with no lock held.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"

namespace chainfs {

class Disk;

class DiskErrors {
 public:
  using Observer = std::function<void(const Disk&, std::string_view operation, const Error&)>;

  // Empty: nobody is told.
  void SetObserver(Observer observer) EXCLUDES(mu_);
  void Tell(const Disk& disk, std::string_view operation, const Error& error) const EXCLUDES(mu_);

 private:
  mutable Mutex mu_;
  std::shared_ptr<const Observer> observer_ GUARDED_BY(mu_);
};

}  // namespace chainfs
