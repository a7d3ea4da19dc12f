// SPDX-License-Identifier: Apache-2.0
//
// KillMoments: when to kill, counted from the command. Moments are spread over what is being done,
// and denser at its beginning and its end; how long it takes is learned from what the earlier kills
// have met.
#pragma once

#include <algorithm>
#include <chrono>

#include "tests/support/random.h"

namespace chainfs {

class KillMoments {
 public:
  using Time = std::chrono::microseconds;

  // `first`: a guess at how long it takes.
  explicit KillMoments(Time first) : length_(first) {}

  Time Next(Random& random) const {
    const auto most = static_cast<uint64_t>(length_.count());
    switch (random.Below(4)) {
      case 0:
        return Time(random.Below(most / 8));
      case 1:
        return Time(random.Between(most * 3 / 4, most));
      default:
        return Time(random.Below(most));
    }
  }
  // Settles where one kill in five comes too late.
  void Met(bool unfinished) {
    length_ = std::max(kLeast, unfinished ? length_ * 106 / 100 : length_ * 8 / 10);
  }

 private:
  static constexpr Time kLeast{400};
  Time length_;
};

}  // namespace chainfs
