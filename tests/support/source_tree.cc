// SPDX-License-Identifier: Apache-2.0
#include "tests/support/source_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace chainfs {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> LinesOf(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<SourceFile> ReadTree(const std::vector<std::string_view>& folders,
                                 const std::vector<std::string_view>& extensions) {
  const char* top = std::getenv("CHAINFS_SOURCE_DIR");
  if (top == nullptr) return {};
  std::vector<SourceFile> files;
  for (const std::string_view folder : folders) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(top) / folder)) {
      if (std::ranges::find(extensions, entry.path().extension()) == extensions.end()) continue;
      files.push_back({fs::relative(entry.path(), top), LinesOf(entry.path())});
    }
  }
  return files;
}

}  // namespace

const std::vector<SourceFile>& SourceFiles() {
  static const std::vector<SourceFile> sources = [] {
    auto files = ReadTree({"blocklayer", "jobs", "fusefs", "ctl", "tests"}, {".cc", ".h"});
    std::ranges::sort(files, {}, &SourceFile::path);
    return files;
  }();
  return sources;
}

const std::vector<SourceFile>& Documents() {
  static const std::vector<SourceFile> documents = [] {
    auto files = ReadTree({"blocklayer", "jobs", "fusefs", "ctl", "tests", "packaging"}, {".md"});
    const char* top = std::getenv("CHAINFS_SOURCE_DIR");
    for (const char* name : {"README.md", "CONTRIBUTING.md"}) {
      if (top != nullptr) files.push_back({name, LinesOf(fs::path(top) / name)});
    }
    std::ranges::sort(files, {}, &SourceFile::path);
    return files;
  }();
  return documents;
}

size_t ColumnsOf(std::string_view line) {
  // The continuation bytes of UTF-8 are left out.
  return static_cast<size_t>(std::ranges::count_if(
      line, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void ReportLine(const SourceFile& source, size_t line, std::string_view what) {
  ADD_FAILURE() << source.path << ":" << line << ": " << what;
}

void ReportViolations(std::string_view rule, const std::map<std::string, std::string>& violations) {
  for (const auto& [key, what] : violations) {
    ADD_FAILURE() << rule << ": " << key << ": " << what;
  }
}

}  // namespace chainfs
