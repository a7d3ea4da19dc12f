// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/reference_counts.h"

#include <algorithm>
#include <bit>

namespace chainfs::qcow2 {

bool ReferenceCounts::Pay(uint64_t bytes) {
  if (bytes > max_bytes_ - bytes_) return false;
  bytes_ += bytes;
  return true;
}

uint32_t ReferenceCounts::Get(uint64_t cluster) const {
  const uint64_t number = cluster / kPageClusters;
  const uint64_t index = cluster % kPageClusters;
  const Page* page = last_;
  if (number != last_number_) {
    const auto found = pages_.find(number);
    if (found == pages_.end()) return 0;
    page = found->second.get();
  }
  if (page->counts != nullptr) return (*page->counts)[index];
  return static_cast<uint32_t>((page->seen[index / 64] >> (index % 64)) & 1);
}

bool ReferenceCounts::Add(uint64_t cluster, uint32_t times) {
  const uint64_t number = cluster / kPageClusters;
  const uint64_t index = cluster % kPageClusters;
  if (number != last_number_) {
    auto found = pages_.find(number);
    if (found == pages_.end()) {
      if (!Pay(kPageBytes)) return false;
      found = pages_.emplace(number, std::make_unique<Page>()).first;
    }
    last_number_ = number;
    last_ = found->second.get();
  }
  uint64_t& word = last_->seen[index / 64];
  const uint64_t bit = uint64_t{1} << (index % 64);
  if (((word & bit) != 0 || times > 1) && last_->counts == nullptr) {
    if (!Pay(sizeof *last_->counts)) return false;
    last_->counts = std::make_unique<std::array<uint16_t, kPageClusters>>();
    for (uint64_t i = 0; i < kPageClusters; ++i) {
      (*last_->counts)[i] = static_cast<uint16_t>((last_->seen[i / 64] >> (i % 64)) & 1);
    }
  }
  if (last_->counts != nullptr) {
    uint16_t& count = (*last_->counts)[index];
    if (times > kMaxCount - count) return false;
    count = static_cast<uint16_t>(count + times);
  }
  word |= bit;
  return true;
}

std::vector<uint64_t> ReferenceCounts::Quotients(uint64_t divisor) const {
  std::vector<uint64_t> quotients;
  for (const auto& [number, page] : pages_) {
    uint64_t last = UINT64_MAX;
    for (uint64_t w = 0; w < page->seen.size(); ++w) {
      for (uint64_t word = page->seen[w]; word != 0; word &= word - 1) {
        const auto bit = static_cast<uint64_t>(std::countr_zero(word));
        const uint64_t quotient = (number * kPageClusters + w * 64 + bit) / divisor;
        if (quotient != last) quotients.push_back(quotient);
        last = quotient;
      }
    }
  }
  std::ranges::sort(quotients);
  const auto repeated = std::ranges::unique(quotients);
  quotients.erase(repeated.begin(), repeated.end());
  return quotients;
}

}  // namespace chainfs::qcow2
