// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/rate_meter.h"

namespace chainfs::jobs {
namespace {

constexpr std::chrono::milliseconds kSamplePeriod{100};
constexpr std::chrono::milliseconds kShortestWindow{20};
constexpr std::chrono::seconds kWindow{5};

}  // namespace

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
