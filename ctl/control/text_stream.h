// SPDX-License-Identifier: Apache-2.0
//
// TextStream: the contents of a virtual file for one opener, made when they are read. A producer
// adds a piece at a time, so the map of a huge disk never lies in memory as a whole.
//
// Reads go forward (the file is not seekable); the same range may be read once more only within
// the last piece kept.
//
// Threads: all methods, any thread; mu_ is held while a piece is made, which may do I/O. It belongs
// to one open file, so nobody but its reader waits.
#pragma once

#include <functional>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/base/sync.h"

namespace chainfs::control {

class TextStream {
 public:
  // Appends the next piece to `text`; false when there is none.
  using Producer = std::function<Result<bool>(std::string* text)>;

  explicit TextStream(std::string whole) : text_(std::move(whole)), ended_(true) {}
  explicit TextStream(Producer producer) : producer_(std::move(producer)) {}

  // Up to `size` bytes at `offset`; fewer at the end, where there are none, and when making them
  // takes long. kInvalidArgument for what has been let go already.
  Result<std::string> Read(uint64_t offset, size_t size) EXCLUDES(mu_);

 private:
  Mutex mu_;
  std::string text_ GUARDED_BY(mu_);  // from start_ on
  uint64_t start_ GUARDED_BY(mu_) = 0;
  bool ended_ GUARDED_BY(mu_) = false;
  Producer producer_ GUARDED_BY(mu_);
};

}  // namespace chainfs::control
