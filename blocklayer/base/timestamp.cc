// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/timestamp.h"

#include <fmt/format.h>

namespace chainfs {

std::string FormatUtc(std::chrono::system_clock::time_point time) {
  using std::chrono::floor;
  const auto day = floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(floor<std::chrono::microseconds>(time - day));
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count(),
                     clock.subseconds().count());
}

timespec RealTimeNow() {
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

}  // namespace chainfs
