// SPDX-License-Identifier: Apache-2.0
//
// Corruption: that the tables of one image were found to be broken, and what is said of it. From
// then on nothing more is changed.
//
// Threads: all methods, any thread; the mutex is a leaf.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"

namespace chainfs::qcow2 {

// kCorrupt: `what`, with the value that it has, contradicts the format or other tables.
std::unexpected<Error> CorruptEntry(std::string_view path, std::string_view what, uint64_t value);

class Corruption {
 public:
  // `path` names the image; who is told the reason knows it, so it is left out there.
  explicit Corruption(std::string path) : prefix_(std::move(path) + ": ") {}

  // False if something was found before, which is then what counts.
  bool Note(std::string why) EXCLUDES(mu_);
  bool found() const { return found_.load(std::memory_order_acquire); }
  // Empty unless found().
  std::string reason() const EXCLUDES(mu_);

 private:
  const std::string prefix_;
  std::atomic<bool> found_ = false;
  mutable Mutex mu_;
  std::string reason_ GUARDED_BY(mu_);
};

}  // namespace chainfs::qcow2
