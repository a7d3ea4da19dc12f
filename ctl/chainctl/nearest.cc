// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/nearest.h"

#include <algorithm>

namespace chainfs::chainctl {
namespace {

// The number of changes between two words (optimal string alignment).
size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> steps(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      size_t& best = steps[i][j];
      if (i == 0 || j == 0) {
        best = i + j;
        continue;
      }
      const bool same = a[i - 1] == b[j - 1];
      best = std::min({steps[i - 1][j] + 1, steps[i][j - 1] + 1, steps[i - 1][j - 1] + !same});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        best = std::min(best, steps[i - 2][j - 2] + 1);
      }
    }
  }
  return steps[a.size()][b.size()];
}

}  // namespace

std::optional<std::string> NearestWord(std::string_view word,
                                       const std::vector<std::string>& known) {
  constexpr size_t kLongest = 32;  // bounds the table
  if (word.empty() || word.size() > kLongest) return std::nullopt;
  for (const std::string& candidate : known) {
    if (candidate.starts_with(word)) return candidate;
  }
  std::optional<std::string> nearest;
  // Half of the word may be wrong, but three letters at most.
  size_t least = std::min<size_t>(3, std::max<size_t>(1, word.size() / 2)) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = Distance(word, candidate);
    if (distance >= least) continue;
    least = distance;
    nearest = candidate;
  }
  return nearest;
}

}  // namespace chainfs::chainctl
