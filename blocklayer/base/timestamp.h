// SPDX-License-Identifier: Apache-2.0
//
// Times as events and jobs show them (RFC 3339, UTC, microseconds, always 27 characters), and as
// files carry them.
#pragma once

#include <time.h>

#include <chrono>
#include <cstdint>
#include <string>

namespace chainfs {

// "2024-05-01T12:00:00.000001Z"
std::string FormatUtc(std::chrono::system_clock::time_point time);
// The host's clock.
timespec RealTimeNow();
// Since 1970; until 2262.
constexpr int64_t NanosecondsOf(const timespec& time) {
  return time.tv_sec * int64_t{1'000'000'000} + time.tv_nsec;
}

}  // namespace chainfs
