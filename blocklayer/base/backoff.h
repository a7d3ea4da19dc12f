// SPDX-License-Identifier: Apache-2.0
//
// Backoff: when to try again what failed for a reason that has nothing to do with what an image
// says, and may be over by now: after a second, then after twice as long each time, up to a minute.
//
// Threads: none of its own; its owner serializes.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

#include "blocklayer/base/error.h"

namespace chainfs {

// Too many open files, of this process or of the host.
inline bool IsOutOfFiles(const Error& error) {
  return error.sys_errno == EMFILE || error.sys_errno == ENFILE;
}

inline bool IsPassing(const Error& error) {
  return error.kind == ErrorKind::kNoMemory || error.kind == ErrorKind::kIo ||
         error.kind == ErrorKind::kNoSpace || IsOutOfFiles(error);
}

class Backoff {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds kFirst{1};
  static constexpr std::chrono::seconds kLongest{60};

  void Failed(Clock::time_point now = Clock::now()) {
    pause_ = pause_.count() == 0 ? kFirst : std::min(2 * pause_, kLongest);
    failed_ = now;
  }
  void Reset() { pause_ = {}; }
  bool IsDue(Clock::time_point now = Clock::now()) const {
    return pause_.count() == 0 || now >= failed_ + pause_;
  }
  // Nothing unless it has failed.
  std::optional<Clock::time_point> next() const {
    if (pause_.count() == 0) return std::nullopt;
    return failed_ + pause_;
  }

 private:
  std::chrono::seconds pause_{0};
  Clock::time_point failed_;
};

}  // namespace chainfs
