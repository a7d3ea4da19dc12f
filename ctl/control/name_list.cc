// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/name_list.h"

namespace chainfs::control {

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> items(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != ';') {
      items.back().push_back(text[i]);
    } else if (i + 1 < text.size() && text[i + 1] == ';') {
      items.back().push_back(';');
      ++i;
    } else {
      items.emplace_back();
    }
  }
  return items;
}

}  // namespace chainfs::control
