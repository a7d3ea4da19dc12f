// SPDX-License-Identifier: Apache-2.0
//
// Each folder says what it is, its invariants have names by which code and tests can speak of them,
// and documents are as wide as code.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <string>

#include "tests/support/source_tree.h"

namespace chainfs {
namespace {

constexpr size_t kColumns = 100;

// "- CAT-3: ..." or "- **CAT-3** ..." is where an invariant stands.
const std::regex& LabelledItem() {
  static const std::regex item(R"(^[-*] \**([A-Z][A-Z0-9]*-[0-9]+)\b)");
  return item;
}

// Every label, and the documents that state it.
std::map<std::string, std::set<std::string>> Labels() {
  std::map<std::string, std::set<std::string>> labels;
  for (const SourceFile& document : Documents()) {
    for (size_t i = 0; i < document.lines.size(); ++i) {
      std::smatch match;
      if (!std::regex_search(document.lines[i], match, LabelledItem())) continue;
      labels[match[1]].insert(fmt::format("{}:{}", document.path, i + 1));
    }
  }
  return labels;
}

TEST(DocumentRules, LinesAreShort) {
  std::map<std::string, std::string> violations;
  for (const SourceFile& document : Documents()) {
    bool verbatim = false;
    for (size_t i = 0; i < document.lines.size(); ++i) {
      const std::string& line = document.lines[i];
      if (line.starts_with("```")) verbatim = !verbatim;
      // A row of a table, or output, cannot be wrapped.
      if (verbatim || line.starts_with('|') || ColumnsOf(line) <= kColumns) continue;
      violations.try_emplace(document.path, fmt::format("line {} is longer than 100", i + 1));
    }
  }
  ReportViolations("columns", violations);
}

TEST(DocumentRules, EveryFolderSaysWhatItIs) {
  std::set<std::string> told;
  for (const SourceFile& document : Documents()) {
    if (document.path.ends_with("/README.md")) told.insert(document.folder());
  }
  std::map<std::string, std::string> violations;
  for (const SourceFile& source : SourceFiles()) {
    // The commit's own folder holds one header, of which base/ tells.
    if (source.In("tests/") || source.In("blocklayer/base/version/")) continue;
    if (told.contains(source.folder())) continue;
    violations[source.folder()] = "has no README.md";
  }
  ReportViolations("readme", violations);
}

TEST(DocumentRules, InvariantsHaveLabels) {
  static const std::regex numbered("^[0-9]+\\. ");
  std::map<std::string, std::string> violations;
  for (const SourceFile& document : Documents()) {
    bool invariants = false;
    for (size_t i = 0; i < document.lines.size(); ++i) {
      const std::string& line = document.lines[i];
      const std::string text = line.substr(std::min(line.size(), line.find_first_not_of("#* ")));
      if (line.starts_with('#') || text.starts_with("Invariants")) {
        invariants = text.starts_with("Invariants");
      }
      if (invariants && std::regex_search(line, numbered)) {
        violations.try_emplace(document.path,
                               fmt::format("line {}: \"- CAT-1: ...\", not \"1.\"", i + 1));
      }
    }
  }
  ReportViolations("labels", violations);
}

TEST(DocumentRules, ALabelStandsOnce) {
  for (const auto& [label, places] : Labels()) {
    EXPECT_EQ(places.size(), 1U) << label << " stands in " << *places.begin() << " and in "
                                 << *places.rbegin();
  }
}

// Words such as UTF-8 look like labels, so only the prefixes that documents use are looked for.
TEST(DocumentRules, WhatIsCitedExists) {
  static const std::regex cited(R"(\b([A-Z][A-Z0-9]*)-[0-9]+\b)");
  const auto labels = Labels();
  std::set<std::string> prefixes;
  for (const auto& [label, places] : labels) prefixes.insert(label.substr(0, label.find('-')));
  const auto check = [&](const SourceFile& file) {
    for (size_t i = 0; i < file.lines.size(); ++i) {
      const std::string& line = file.lines[i];
      for (std::sregex_iterator at(line.begin(), line.end(), cited), end; at != end; ++at) {
        if (prefixes.contains((*at)[1]) && !labels.contains(at->str())) {
          ReportLine(file, i + 1, fmt::format("no README states {}", at->str()));
        }
      }
    }
  };
  for (const SourceFile& source : SourceFiles()) check(source);
  for (const SourceFile& document : Documents()) check(document);
}

}  // namespace
}  // namespace chainfs
