// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/throttle.h"

#include <algorithm>

namespace chainfs::jobs {
namespace {

constexpr std::chrono::milliseconds kSamplePeriod{100};
constexpr std::chrono::milliseconds kShortestWindow{20};
constexpr std::chrono::seconds kWindow{5};
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

void RateMeter::Restart(uint64_t progress, uint64_t copied, Time now) {
  samples_.clear();
  samples_.push_back({now, progress, copied});
}

void RateMeter::Add(uint64_t progress, uint64_t copied, Time now) {
  // The newest sample moves along until it is a period away from the one before it.
  if (samples_.size() >= 2 && now - samples_[samples_.size() - 2].time < kSamplePeriod) {
    samples_.back() = {now, progress, copied};
    return;
  }
  samples_.push_back({now, progress, copied});
  while (samples_.size() > 2 && now - samples_[1].time > kWindow) samples_.pop_front();
}

std::optional<double> RateMeter::PerSecond(uint64_t Sample::* what) const {
  if (samples_.size() < 2) return std::nullopt;
  const Sample& first = samples_.front();
  const Sample& last = samples_.back();
  if (last.time - first.time < kShortestWindow) return std::nullopt;
  const std::chrono::duration<double> seconds = last.time - first.time;
  return static_cast<double>(last.*what - first.*what) / seconds.count();
}

uint64_t RateMeter::Rate() const {
  return static_cast<uint64_t>(PerSecond(&Sample::copied).value_or(0));
}

std::optional<uint64_t> RateMeter::Eta(uint64_t left) const {
  const std::optional<double> speed = PerSecond(&Sample::progress);
  if (!speed || *speed < 1) return std::nullopt;
  return static_cast<uint64_t>(static_cast<double>(left) / *speed) + (left > 0 ? 1 : 0);
}

}  // namespace chainfs::jobs
