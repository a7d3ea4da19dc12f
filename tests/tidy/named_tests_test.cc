// SPDX-License-Identifier: Apache-2.0
//
// The tables of documents that name tests name such as there are, each row of them at least one;
// and what is said to be the same with QEMU is compared with QEMU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <ranges>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tests/support/source_tree.h"

namespace chainfs {
namespace {

using Cells = std::vector<std::string>;

// "Suite.Name" -> the files that have it; there may be two of one name.
using TestsByName = std::multimap<std::string, const SourceFile*>;

TestsByName AllTests() {
  static const std::regex begin(R"(^\s*(?:TYPED_)?TEST(?:_F|_P)?\((\w+),\s*(\w+)\))");
  TestsByName tests;
  for (const SourceFile& source : SourceFiles()) {
    if (!source.In("tests/")) continue;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      // A long name may stand in the next line.
      std::string text = source.lines[i];
      if (text.ends_with(',') && i + 1 < source.lines.size()) text += source.lines[i + 1];
      std::smatch match;
      if (std::regex_search(text, match, begin)) {
        tests.emplace(fmt::format("{}.{}", match.str(1), match.str(2)), &source);
      }
    }
  }
  return tests;
}

bool Says(const SourceFile& source, const std::string& words) {
  return std::ranges::any_of(
      source.lines, [&](const std::string& line) { return line.find(words) != std::string::npos; });
}

// What stands between the bars of a row.
std::optional<Cells> RowOf(const std::string& line) {
  if (!line.starts_with("| ") || line.starts_with("| ---")) return std::nullopt;
  Cells cells;
  for (size_t at = 2; at < line.size();) {
    const size_t end = std::min(line.find(" |", at), line.size());
    cells.push_back(line.substr(at, end - at));
    at = end + 3;
  }
  return cells;
}

// The rows of tables whose last column is `heading`, with their line numbers.
std::map<size_t, Cells> RowsNamingTests(const SourceFile& document, const std::string& heading) {
  std::map<size_t, Cells> rows;
  bool ours = false;
  for (size_t i = 0; i < document.lines.size(); ++i) {
    const std::optional<Cells> row = RowOf(document.lines[i]);
    const bool first = i == 0 || !document.lines[i - 1].starts_with('|');
    if (row && first) {
      ours = row->back() == heading;
    } else if (row && ours) {
      rows[i + 1] = *row;
    }
  }
  return rows;
}

std::vector<std::string> NamesIn(const std::string& cell) {
  static const std::regex name(R"(`(\w+\.\w+(?:/\w+)?)`)");
  std::vector<std::string> names;
  for (std::sregex_iterator at(cell.begin(), cell.end(), name), end; at != end; ++at) {
    names.push_back((*at)[1]);
  }
  return names;
}

const SourceFile& DocumentOf(const std::string& path) {
  const auto found = std::ranges::find(Documents(), path, &SourceFile::path);
  if (found == Documents().end()) {
    ADD_FAILURE() << "there is no " << path;
    static const SourceFile none;
    return none;
  }
  return *found;
}

class NamedTests : public testing::Test {
 protected:
  // The files of a test; of "Suite.Name/case" those that have the case, too.
  std::vector<const SourceFile*> FilesOf(const std::string& name) const {
    const size_t slash = name.find('/');
    const auto [begin, end] = tests_.equal_range(name.substr(0, slash));
    std::vector<const SourceFile*> files;
    for (const auto& [test, file] : std::ranges::subrange(begin, end)) {
      const bool has_case =
          slash == std::string::npos || Says(*file, fmt::format("\"{}\"", name.substr(slash + 1)));
      if (has_case) files.push_back(file);
    }
    return files;
  }
  void ExpectThere(const SourceFile& document, const std::map<size_t, Cells>& rows) const {
    EXPECT_GT(rows.size(), 10u) << document.path << ": where is its table?";
    for (const auto& [line, cells] : rows) {
      const std::vector<std::string> names = NamesIn(cells.back());
      if (names.empty()) ReportLine(document, line, "the row names no test");
      for (const std::string& name : names) {
        if (FilesOf(name).empty()) ReportLine(document, line, "there is no test " + name);
      }
    }
  }

  const TestsByName tests_ = AllTests();
};

TEST_F(NamedTests, OfOperations) {
  const SourceFile& document = DocumentOf("jobs/README.md");
  const auto rows = RowsNamingTests(document, "tests");
  ExpectThere(document, rows);
  for (const auto& [line, cells] : rows) {
    if (cells.size() != 4 || !cells[2].starts_with("the same")) continue;
    bool compared = false;
    for (const std::string& name : NamesIn(cells.back())) {
      for (const SourceFile* const file : FilesOf(name)) {
        compared = compared || Says(*file, "qemu-") || Says(*file, "StorageDaemon");
      }
    }
    if (!compared) ReportLine(document, line, "none of these tests compares with QEMU");
  }
}

TEST_F(NamedTests, OfFeatures) {
  const SourceFile& document = DocumentOf("blocklayer/formats/qcow2/FORMAT.md");
  const auto rows = RowsNamingTests(document, "tests");
  ExpectThere(document, rows);
  for (const auto& [line, cells] : rows) {
    for (const std::string& name : NamesIn(cells.back())) {
      const auto files = FilesOf(name);
      const bool compared = std::ranges::any_of(
          files, [](const SourceFile* const file) { return Says(*file, "qemu-"); });
      if (!compared) ReportLine(document, line, name + " does not compare with QEMU");
    }
  }
}

TEST_F(NamedTests, OfScenarios) {
  const SourceFile& document = DocumentOf("tests/README.md");
  ExpectThere(document, RowsNamingTests(document, "ours"));
}

}  // namespace
}  // namespace chainfs
