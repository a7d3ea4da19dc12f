// SPDX-License-Identifier: Apache-2.0
//
// ReferenceCounts: how often each host cluster is referred to, in memory that follows what is
// referred to and not what the file claims to be long: pages of clusters exist once one of their
// clusters counts; a page has one bit per cluster until one of them is shared.
//
// Threads: none of its own.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace chainfs::qcow2 {

class ReferenceCounts {
 public:
  static constexpr uint64_t kMaxCount = UINT16_MAX;

  // Counts for clusters 0 to `clusters` - 1, in at most about `max_bytes` of memory.
  ReferenceCounts(uint64_t clusters, uint64_t max_bytes)
      : clusters_(clusters), max_bytes_(max_bytes) {}

  uint64_t clusters() const { return clusters_; }
  // `cluster` < clusters().
  uint32_t Get(uint64_t cluster) const;
  // `times` > 0. False, and nothing is counted, when the memory is used up or the count would pass
  // kMaxCount.
  bool Add(uint64_t cluster, uint32_t times = 1);
  // The counted clusters divided by `divisor`, each quotient once, ascending.
  std::vector<uint64_t> Quotients(uint64_t divisor) const;

 private:
  static constexpr uint64_t kPageClusters = 4096;
  struct Page {
    std::array<uint64_t, kPageClusters / 64> seen = {};
    std::unique_ptr<std::array<uint16_t, kPageClusters>> counts;  // once one is above 1
  };
  static constexpr uint64_t kPageBytes = sizeof(Page) + 64;

  bool Pay(uint64_t bytes);

  const uint64_t clusters_;
  const uint64_t max_bytes_;
  uint64_t bytes_ = 0;
  std::unordered_map<uint64_t, std::unique_ptr<Page>> pages_;
  // The page that was asked for last.
  uint64_t last_number_ = UINT64_MAX;
  Page* last_ = nullptr;
};

}  // namespace chainfs::qcow2
