// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/image_snapshots.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/percent_text.h"

namespace chainfs {

std::string ImageSnapshots::Describe() const {
  constexpr size_t kNamed = 3;
  std::string names;
  for (size_t i = 0; i < std::min(kept.size(), kNamed); ++i) {
    const std::string& name = kept[i].name.empty() ? kept[i].id : kept[i].name;
    names += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", PercentEscape(name));
  }
  if (count == 1) return "its internal snapshot " + names;
  return fmt::format("its {} internal snapshots ({}{})", count, names,
                     count > kNamed ? ", ..." : "");
}

}  // namespace chainfs
