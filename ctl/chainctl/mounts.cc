// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/mounts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "ctl/chainctl/exit_code.h"

namespace chainfs::chainctl {
namespace {

// The kernel writes space, tab, newline and backslash as three octal digits.
std::string DecodeOctal(std::string_view field) {
  const auto octal = [](char digit) { return digit >= '0' && digit <= '7'; };
  std::string text;
  for (size_t i = 0; i < field.size(); ++i) {
    if (field[i] == '\\' && i + 3 < field.size() && octal(field[i + 1]) && octal(field[i + 2]) &&
        octal(field[i + 3])) {
      const int value = (field[i + 1] - '0') * 64 + (field[i + 2] - '0') * 8 + (field[i + 3] - '0');
      text += static_cast<char>(value);
      i += 3;
    } else {
      text += field[i];
    }
  }
  return text;
}

}  // namespace

std::vector<MountEntry> ParseMountinfo(std::string_view mountinfo) {
  std::vector<MountEntry> entries;
  std::istringstream lines{std::string(mountinfo)};
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::vector<std::string> fields{std::istream_iterator<std::string>(words), {}};
    const auto separator = std::ranges::find(fields, "-");
    if (fields.size() < 6 || std::distance(separator, fields.end()) < 2) continue;
    MountEntry entry{.id = fields[0],
                     .device = fields[2],
                     .path = DecodeOctal(fields[4]),
                     .type = *(separator + 1),
                     .source = {}};
    if (std::distance(separator, fields.end()) > 2) entry.source = DecodeOctal(*(separator + 2));
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::vector<std::string> ChainfsMountsIn(std::string_view mountinfo) {
  // What is mounted last on a path is what the path shows.
  std::map<std::string, std::pair<size_t, bool>> by_path;
  size_t number = 0;
  for (MountEntry& entry : ParseMountinfo(mountinfo)) {
    by_path[std::move(entry.path)] = {number++, entry.type == "fuse.chainfs"};
  }
  std::vector<std::pair<size_t, std::string>> ours;
  for (const auto& [path, entry] : by_path) {
    if (entry.second) ours.emplace_back(entry.first, path);
  }
  std::ranges::sort(ours);
  std::vector<std::string> paths;
  paths.reserve(ours.size());
  for (auto& [order, path] : ours) paths.push_back(std::move(path));
  return paths;
}

Result<std::vector<std::string>> ChainfsMounts() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) {
    return FailMounted(errno, "/proc/self/mountinfo: cannot be read; name the mount point");
  }
  std::stringstream text;
  text << file.rdbuf();
  return ChainfsMountsIn(text.str());
}

}  // namespace chainfs::chainctl
