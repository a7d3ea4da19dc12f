// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/header_names.h"

#include <string_view>

namespace chainfs {
namespace {

// Every absolute path among the strings of a JSON text. Relative ones begin where QEMU was started,
// which nobody knows here.
void AddPaths(std::string_view json, std::vector<std::string>& paths) {
  bool inside = false;
  std::string text;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') {
      if (inside && text.starts_with('/')) paths.push_back(text);
      inside = !inside;
      text.clear();
    } else if (json[i] == '\\' && i + 1 < json.size()) {
      text += json[++i];  // \" \\ \/ are what paths need
    } else {
      text += json[i];
    }
  }
}

}  // namespace

std::vector<std::string> NamesOf(const HeaderPeek& peek) {
  std::vector<std::string> names;
  if (peek.backing) {
    const std::string& name = peek.backing->name;
    constexpr std::string_view kFile = "file:";
    if (name.starts_with("json:")) {
      AddPaths(name, names);
    } else {
      const bool is_path = name.starts_with(kFile) && name.substr(kFile.size()).starts_with('/');
      names.push_back(is_path ? name.substr(kFile.size()) : name);
    }
  }
  if (!peek.data_file.empty()) names.push_back(peek.data_file);
  return names;
}

}  // namespace chainfs
