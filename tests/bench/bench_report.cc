// SPDX-License-Identifier: Apache-2.0
//
// The head of bench_report.h says what this is.
#include "tests/bench/bench_report.h"

#include <fmt/core.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "tests/bench/bench_contestant.h"
#include "tests/bench/bench_process.h"

namespace chainfs::bench {
namespace {

// Two or three significant digits.
std::string Short(double value) {
  if (value >= 100) return fmt::format("{:.0f}", value);
  if (value >= 10) return fmt::format("{:.1f}", value);
  if (value >= 0.1) return fmt::format("{:.2f}", value);
  return fmt::format("{:.2g}", value);
}

std::string Described(const Comparison& comparison, double value) {
  std::string text = fmt::format("{} {}", Short(value), comparison.label);
  if (comparison.goal) {
    const bool met = comparison.at_most ? value <= *comparison.goal : value >= *comparison.goal;
    text += fmt::format(" (goal {} {}{})", comparison.at_most ? "≤" : "≥", *comparison.goal,
                        met ? "" : ": missed");
  }
  return text;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string ProcessorName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

}  // namespace

void Report::Declare(Row row) { rows_.push_back(std::move(row)); }

void Report::Add(const std::string& row, std::string_view contestant, double value) {
  samples_[row][std::string(contestant)].push_back(value);
}

std::optional<double> Report::Median(const std::string& row, const std::string& contestant) const {
  const auto samples = samples_.find(row);
  if (samples == samples_.end()) return std::nullopt;
  const auto found = samples->second.find(contestant);
  if (found == samples->second.end()) return std::nullopt;
  std::vector<double> sorted = found->second;
  std::ranges::sort(sorted);
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

std::optional<double> Report::Value(const Row& row, const Comparison& comparison) const {
  const auto value = Median(row.id, comparison.contestant);
  if (!value || comparison.to_row.empty()) return value;
  const auto divisor = Median(comparison.to_row, comparison.to_contestant);
  if (!divisor || *divisor == 0) return std::nullopt;
  return *value / *divisor;
}

std::string Report::Markdown() const {
  std::string text =
      "| what | unit | chainfs | qemu-storage-daemon | bare pass-through | native | chainfs is |\n"
      "| --- | --- | ---: | ---: | ---: | ---: | --- |\n";
  for (const Row& row : rows_) {
    if (!samples_.contains(row.id)) continue;
    text += fmt::format("| {} | {} |", row.what, row.unit);
    for (const std::string_view name : {kChainfs, kRival, kLimit, kNative}) {
      const auto median = Median(row.id, std::string(name));
      text += fmt::format(" {} |", median ? Short(*median) : "");
    }
    std::string judged;
    for (const Comparison& comparison : row.comparisons) {
      const auto value = Value(row, comparison);
      if (value) judged += (judged.empty() ? "" : "; ") + Described(comparison, *value);
    }
    text += fmt::format(" {} |\n", judged);
  }
  return text;
}

std::string Report::Json() const {
  auto rows = nlohmann::json::array();
  for (const Row& row : rows_) {
    const auto samples = samples_.find(row.id);
    if (samples == samples_.end()) continue;
    nlohmann::json entry = {{"id", row.id}, {"what", row.what}, {"unit", row.unit}};
    entry["samples"] = samples->second;
    for (const auto& [contestant, values] : samples->second) {
      entry["medians"][contestant] = *Median(row.id, contestant);
    }
    entry["comparisons"] = nlohmann::json::array();
    for (const Comparison& comparison : row.comparisons) {
      const auto value = Value(row, comparison);
      if (!value) continue;
      nlohmann::json judged = {
          {"label", comparison.label}, {"contestant", comparison.contestant}, {"value", *value}};
      if (comparison.goal) judged[comparison.at_most ? "at-most" : "at-least"] = *comparison.goal;
      entry["comparisons"].push_back(std::move(judged));
    }
    rows.push_back(std::move(entry));
  }
  return rows.dump(2);
}

std::vector<std::string> MachineFacts(const std::string& qsd, const std::string& dir) {
  utsname kernel = {};
  uname(&kernel);
  const double memory = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 30);
  std::string file_system = FirstLine(RunOrFail({"stat", "-f", "-c", "%T", dir}));
  return {fmt::format("{} x {}, {:.0f} GiB of memory", sysconf(_SC_NPROCESSORS_ONLN),
                      ProcessorName(), memory),
          fmt::format("Linux {}, images on {}", kernel.release, file_system),
          FirstLine(RunOrFail({qsd, "--version"})), FirstLine(RunOrFail({"fio", "--version"}))};
}

}  // namespace chainfs::bench
