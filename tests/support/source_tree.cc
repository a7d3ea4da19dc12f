// SPDX-License-Identifier: Apache-2.0
#include "tests/support/source_tree.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>
#include <utility>

namespace chainfs {
namespace {

namespace fs = std::filesystem;

// Size and time of the last change, by path from the top.
using Listing = std::map<std::string, std::pair<uintmax_t, fs::file_time_type>>;

fs::path Top() {
  const char* const top = std::getenv("CHAINFS_SOURCE_DIR");
  if (top == nullptr) throw std::runtime_error("CHAINFS_SOURCE_DIR is not set");
  return top;
}

// Of the files of `places`, which are folders or files, those whose names end so.
Listing List(const std::vector<std::string_view>& places,
             const std::vector<std::string_view>& extensions) {
  Listing listing;
  const auto add = [&](const fs::directory_entry& entry) {
    if (std::ranges::find(extensions, entry.path().extension()) == extensions.end()) return;
    listing.emplace(entry.path().lexically_relative(Top()),
                    std::pair(entry.file_size(), entry.last_write_time()));
  };
  for (const std::string_view place : places) {
    const fs::directory_entry top(Top() / place);
    if (!top.is_directory()) {
      add(top);
    } else {
      for (const auto& entry : fs::recursive_directory_iterator(top.path())) add(entry);
    }
  }
  return listing;
}

std::vector<std::string> LinesOf(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  if (!in.eof()) throw fs::filesystem_error("cannot be read", path, std::error_code());
  return lines;
}

// A checkout beside the tests takes files away and writes them anew. What was read meanwhile could
// be anything, and nothing in it is not a rule that is kept.
std::vector<SourceFile> ReadTree(const std::vector<std::string_view>& places,
                                 const std::vector<std::string_view>& extensions) {
  constexpr int kTries = 100;
  constexpr std::chrono::milliseconds kPause(100);
  std::string problem = "they change all the time";
  for (int i = 0; i < kTries; ++i) {
    try {
      const Listing before = List(places, extensions);
      std::vector<SourceFile> files;
      for (const auto& [path, stamp] : before) files.push_back({path, LinesOf(Top() / path)});
      if (List(places, extensions) == before) return files;
    } catch (const fs::filesystem_error& error) {
      problem = error.what();
    }
    std::this_thread::sleep_for(kPause);
  }
  throw std::runtime_error("the sources cannot be read: " + problem);
}

}  // namespace

const std::vector<SourceFile>& SourceFiles() {
  static const std::vector<SourceFile> sources =
      ReadTree({"blocklayer", "jobs", "fusefs", "ctl", "tests"}, {".cc", ".h"});
  return sources;
}

const std::vector<SourceFile>& Documents() {
  static const std::vector<SourceFile> documents = ReadTree(
      {"blocklayer", "jobs", "fusefs", "ctl", "tests", "packaging", "README.md", "CONTRIBUTING.md"},
      {".md"});
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
