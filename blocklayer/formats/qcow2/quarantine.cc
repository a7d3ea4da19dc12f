// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/quarantine.h"

#include <algorithm>

namespace chainfs::qcow2 {

void Quarantine::Add(std::span<const uint64_t> clusters, uint64_t epoch) {
  for (const uint64_t cluster : clusters) held_.push_back({cluster, epoch});
}

std::vector<uint64_t> Quarantine::TakeReleasable(uint64_t now) {
  std::vector<uint64_t> free;
  std::vector<Held> still;
  for (const Held& held : held_) {
    if (now < held.epoch + 2) {
      still.push_back(held);
    } else {
      free.push_back(held.cluster);
    }
  }
  held_.swap(still);
  std::ranges::sort(free);
  return free;
}

}  // namespace chainfs::qcow2
