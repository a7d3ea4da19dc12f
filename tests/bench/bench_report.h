// SPDX-License-Identifier: Apache-2.0
//
// Report: the samples of every row and contestant, and what is said of them: medians over the
// rounds, and ratios of medians within the run beside the goal of each. Absolute numbers belong to
// the machine; the ratios are what two runs can be compared by.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chainfs::bench {

struct Comparison {
  std::string label = {};       // "x pass-through"
  std::string contestant = {};  // whose median is divided
  std::string to_row = {};      // empty: no ratio, the median itself
  std::string to_contestant = {};
  std::optional<double> goal = {};
  bool at_most = false;  // the goal is an upper bound
};

struct Row {
  std::string id;
  std::string what;
  std::string unit;
  std::vector<Comparison> comparisons;
};

class Report {
 public:
  void Declare(Row row);
  void Add(const std::string& row, std::string_view contestant, double value);

  // Rows with no sample, and comparisons with a contestant that was left out, are not shown.
  std::string Markdown() const;
  std::string Json() const;

 private:
  std::optional<double> Median(const std::string& row, const std::string& contestant) const;
  std::optional<double> Value(const Row& row, const Comparison& comparison) const;

  std::vector<Row> rows_;
  std::map<std::string, std::map<std::string, std::vector<double>>> samples_;
};

// One line a fact: processor, memory, kernel, versions.
std::vector<std::string> MachineFacts(const std::string& qsd, const std::string& dir);

}  // namespace chainfs::bench
