// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/mounts.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <sstream>

#include "blocklayer/base/mountinfo.h"
#include "ctl/chainctl/exit_code.h"

namespace chainfs::chainctl {
std::vector<std::string> ChainfsMountsIn(std::string_view mountinfo) {
  // What is mounted last on a path is what the path shows.
  std::map<std::string, std::pair<size_t, bool>> by_path;
  size_t number = 0;
  for (MountEntry& entry : ParseMountinfo(std::string(mountinfo))) {
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
