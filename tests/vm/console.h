// SPDX-License-Identifier: Apache-2.0
//
// What the guest says on its serial console: one line for each answer, and how long its operations
// took at most.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace chainfs::guest {

void Reply(const std::string& text);
// Says what is wrong, with errno if that is not 0, and switches the machine off.
[[noreturn]] void Fail(const std::string& what);
[[noreturn]] void PowerOff();

// The longest of some operations since somebody has asked. Threads: any.
class Longest {
 public:
  void Note(std::chrono::steady_clock::duration took) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(took).count();
    int64_t seen = longest_us_;
    while (us > seen && !longest_us_.compare_exchange_weak(seen, us)) {
    }
  }
  // In microseconds; starts anew.
  int64_t Take() { return longest_us_.exchange(0); }

 private:
  std::atomic<int64_t> longest_us_ = 0;
};

// Notes how long it lived.
class Timed {
 public:
  explicit Timed(Longest& longest) : longest_(longest) {}
  ~Timed() { longest_.Note(std::chrono::steady_clock::now() - start_); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  Longest& longest_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace chainfs::guest
