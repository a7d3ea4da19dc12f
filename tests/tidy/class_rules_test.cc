// SPDX-License-Identifier: Apache-2.0
//
// One class, one pair of files, one job. A class of more members than fit one file is two classes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <string>

#include "tests/support/source_tree.h"

namespace chainfs {
namespace {

constexpr size_t kMostMembers = 25;

// Tests are files without headers, and the harness of the benchmark serves one program.
bool FollowsClassRules(const SourceFile& source) {
  return !source.In("tests/") || source.In("tests/support/");
}

struct ClassUse {
  size_t members = 0;  // defined outside the class body
  std::set<std::string> files;
};

// By folder and name, as a library has no two classes of one name.
std::map<std::string, ClassUse> ClassesDefinedOutOfLine() {
  // "Result<int> Outer::Inner::Name(": the last part is the member, the one before it the class.
  static const std::regex member(R"(((?:[A-Z]\w*::)+)(?:~?\w+|operator[^\s\w]+)\()");
  std::map<std::string, ClassUse> classes;
  for (const SourceFile& source : SourceFiles()) {
    if (source.IsHeader() || !FollowsClassRules(source)) continue;
    for (const std::string& line : source.lines) {
      if (line.empty() || std::isalpha(static_cast<unsigned char>(line[0])) == 0) continue;
      std::smatch match;
      if (line.ends_with(';') && !line.ends_with("default;")) continue;
      if (!std::regex_search(line, match, member)) continue;
      std::string name = match[1];
      name.resize(name.size() - 2);
      ClassUse& use = classes[fmt::format("{}/{}", source.folder(), name)];
      ++use.members;
      use.files.insert(source.path);
    }
  }
  return classes;
}

TEST(ClassRules, EverySourceHasItsHeader) {
  std::set<std::string> headers;
  for (const SourceFile& source : SourceFiles()) {
    if (source.IsHeader()) headers.insert(source.path);
  }
  std::map<std::string, std::string> violations;
  for (const SourceFile& source : SourceFiles()) {
    if (source.IsHeader() || !FollowsClassRules(source) || source.path.ends_with("/main.cc")) {
      continue;
    }
    const std::string header = source.path.substr(0, source.path.size() - 2) + "h";
    if (!headers.contains(header)) violations[source.path] = "has no header of the same name";
  }
  ReportViolations("own-header", violations);
}

TEST(ClassRules, AClassLivesInOnePairOfFiles) {
  std::map<std::string, std::string> violations;
  for (const auto& [name, use] : ClassesDefinedOutOfLine()) {
    if (use.files.size() < 2) continue;
    violations[name] =
        fmt::format("is defined in {} files, {} and others", use.files.size(), *use.files.begin());
  }
  ReportViolations("one-pair", violations);
}

TEST(ClassRules, AClassHasFewMembersOutsideItsHeader) {
  std::map<std::string, std::string> violations;
  for (const auto& [name, use] : ClassesDefinedOutOfLine()) {
    if (use.members <= kMostMembers) continue;
    violations[name] =
        fmt::format("has {} members outside its header; {} at most", use.members, kMostMembers);
  }
  ReportViolations("members", violations);
}

}  // namespace
}  // namespace chainfs
