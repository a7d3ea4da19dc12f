// SPDX-License-Identifier: Apache-2.0
//
// The project's own sources and documents as lines of text, for the tests of its rules. They see
// text, not C++: code is as clang-format leaves it, so what is not in a class starts in the first
// column. The tree is read once, from $CHAINFS_SOURCE_DIR, when it stands still; one that cannot be
// read is an exception, with which every test of it fails.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace chainfs {

struct SourceFile {
  std::string path;  // from the top of the tree
  std::vector<std::string> lines;

  bool In(std::string_view folder) const { return path.starts_with(folder); }
  bool IsHeader() const { return path.ends_with(".h"); }
  // What holds the file, without a slash at the end.
  std::string folder() const { return path.substr(0, path.rfind('/')); }
};

// Every .cc and .h file of ours, by path.
const std::vector<SourceFile>& SourceFiles();
// Every .md file, by path.
const std::vector<SourceFile>& Documents();

// Characters, not bytes.
size_t ColumnsOf(std::string_view line);

// Fails the running test with "PATH:LINE: what".
void ReportLine(const SourceFile& source, size_t line, std::string_view what);

// Fails for every violation of a rule: a key, such as a path, and what is wrong.
void ReportViolations(std::string_view rule, const std::map<std::string, std::string>& violations);

}  // namespace chainfs
