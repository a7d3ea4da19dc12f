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

// "RULE KEY" of every list, and where it stands.
std::map<std::string, std::string> ReadExceptions() {
  std::map<std::string, std::string> exceptions;
  for (const SourceFile& list : ReadTree({"tests/tidy"}, {".txt"})) {
    for (size_t i = 0; i < list.lines.size(); ++i) {
      if (list.lines[i].empty() || list.lines[i].starts_with('#')) continue;
      exceptions[list.lines[i]] = fmt::format("{}:{}", list.path, i + 1);
    }
  }
  return exceptions;
}

}  // namespace

const std::vector<SourceFile>& Sources() {
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

void ExpectOnlyExcepted(std::string_view rule,
                        const std::map<std::string, std::string>& violations) {
  static const std::map<std::string, std::string> exceptions = ReadExceptions();
  const std::string prefix = fmt::format("{} ", rule);
  for (const auto& [key, what] : violations) {
    if (!exceptions.contains(prefix + key)) ADD_FAILURE() << rule << ": " << key << ": " << what;
  }
  for (const auto& [line, where] : exceptions) {
    if (line.starts_with(prefix) && !violations.contains(line.substr(prefix.size()))) {
      ADD_FAILURE() << where << ": \"" << line << "\" is true no more; remove the line";
    }
  }
}

}  // namespace chainfs
