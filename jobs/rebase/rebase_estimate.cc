// SPDX-License-Identifier: Apache-2.0
#include "jobs/rebase/rebase_estimate.h"

#include <utility>

namespace chainfs::jobs {
namespace {

constexpr uint64_t kLookAtOnce = 64 << 20;

}  // namespace

RebaseEstimate::RebaseEstimate(RebasePlan plan)
    : plan_(std::move(plan)), comparer_(plan_.Comparer()), source_(plan_.length()) {}

uint64_t RebaseEstimate::chunk_size() const { return kLookAtOnce; }

ChunkResult RebaseEstimate::Process(uint64_t offset, uint64_t length) {
  return comparer_.Estimate(offset, length);
}

}  // namespace chainfs::jobs
