// SPDX-License-Identifier: Apache-2.0
#include "tests/support/descriptors.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace chainfs {

std::vector<int> AccessModesOf(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<int> modes;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    if (fs::read_symlink(entry.path(), error) != path) continue;
    std::ifstream info(fs::path("/proc/self/fdinfo") / entry.path().filename());
    std::string word;
    while (info >> word && word != "flags:") {
    }
    int flags = 0;
    if (info >> std::oct >> flags && (flags & O_PATH) == 0) modes.push_back(flags & O_ACCMODE);
  }
  std::ranges::sort(modes);
  return modes;
}

}  // namespace chainfs
