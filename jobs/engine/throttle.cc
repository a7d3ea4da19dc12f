// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/throttle.h"

#include <algorithm>

namespace chainfs::jobs {
namespace {

// Longer than any mount lives, short enough for the arithmetic of the clock.
constexpr double kLongestWait = 1e9;

}  // namespace

void Throttle::SetSpeed(uint64_t bytes_per_second, Time now) {
  speed_ = bytes_per_second;
  next_ = now;
}

std::chrono::steady_clock::duration Throttle::Cost(uint64_t bytes) const {
  const double seconds =
      std::min(static_cast<double>(bytes) / static_cast<double>(speed_), kLongestWait);
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(seconds));
}

void Throttle::Charge(uint64_t bytes, Time now) {
  if (speed_ != 0) next_ = std::max(next_, now - kSlice) + Cost(bytes);
}

void Throttle::Refund(uint64_t bytes) {
  if (speed_ != 0) next_ -= Cost(bytes);
}

}  // namespace chainfs::jobs
