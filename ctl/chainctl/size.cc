// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/size.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

namespace chainfs::chainctl {
namespace {

constexpr std::string_view kPrefixes = "kmgtpe";

std::optional<uint64_t> UnitOf(std::string_view suffix) {
  std::string lower(suffix);
  std::ranges::transform(lower, lower.begin(), [](unsigned char letter) {
    return static_cast<char>(std::tolower(letter));
  });
  if (lower.empty() || lower == "b") return 1;
  const size_t power = kPrefixes.find(lower[0]);
  if (power == std::string_view::npos) return std::nullopt;
  const std::string_view rest = std::string_view(lower).substr(1);
  uint64_t step = 0;
  if (rest.empty() || rest == "ib") {
    step = 1024;
  } else if (rest == "b") {
    step = 1000;
  } else {
    return std::nullopt;
  }
  uint64_t unit = 1;
  for (size_t i = 0; i <= power; ++i) unit *= step;
  return unit;
}

}  // namespace

Result<uint64_t> ParseTypedSize(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("size '{}': {}; write a number with an optional suffix such as k, M, "
                            "G, T (1024) or MB, GB (1000)",
                            text, why));
  };
  uint64_t whole = 0;
  const char* const end = text.data() + text.size();
  const auto [after, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (error == std::errc::result_out_of_range) return bad("too large");
  if (error != std::errc()) return bad("not a number");
  std::string_view rest(after, static_cast<size_t>(end - after));
  std::string_view digits;
  if (rest.starts_with('.')) {
    const size_t stop = rest.find_first_not_of("0123456789", 1);
    digits = rest.substr(1, stop == std::string_view::npos ? stop : stop - 1);
    if (digits.empty()) return bad("digits are missing after the point");
    rest = rest.substr(1 + digits.size());
  }
  const std::optional<uint64_t> unit = UnitOf(rest);
  if (!unit) return bad("unknown suffix");
  constexpr uint64_t kLimit = INT64_MAX;
  if (whole != 0 && *unit > kLimit / whole) return bad("too large");
  uint64_t bytes = whole * *unit;
  double fraction = 0;
  double place = 0.1;
  for (const char digit : digits) {
    fraction += place * (digit - '0');
    place /= 10;
  }
  bytes += static_cast<uint64_t>(fraction * static_cast<double>(*unit));
  if (bytes > kLimit) return bad("too large");
  return bytes;
}

std::string FormatSize(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  static constexpr std::array<const char*, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  // 1023.95 would print as 1024.0; the next unit reads better.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::string number = fmt::format("{:.1f}", value);
  if (value >= 99.95) {
    number = fmt::format("{:.0f}", value);
  } else if (number.ends_with(".0")) {
    number.resize(number.size() - 2);
  }
  return fmt::format("{} {}", number, kUnits[unit]);
}

std::string FormatRate(uint64_t bytes_per_second) { return FormatSize(bytes_per_second) + "/s"; }

std::string FormatDuration(uint64_t seconds) {
  const uint64_t days = seconds / 86400;
  const uint64_t hours = seconds / 3600 % 24;
  const uint64_t minutes = seconds / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, seconds % 60);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, seconds % 60);
  return fmt::format("{}:{:02}", minutes, seconds % 60);
}

}  // namespace chainfs::chainctl
