// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_estimate.h"

#include <utility>

namespace chainfs::jobs {
namespace {

constexpr uint64_t kLookChunk = 64 << 20;

}  // namespace

StreamEstimate::StreamEstimate(DiskPtr disk, StreamPlan plan, LeftOutLayers left_out,
                               const std::optional<std::string>& probe)
    : disk_(std::move(disk)),
      plan_(std::move(plan)),
      left_out_(std::move(left_out)),
      source_(plan_.length()) {
  if (plan_.nothing_to_do()) return;
  copier_.emplace(*plan_.top->image->writer(), plan_.below, plan_.dropped(), plan_.compression);
  // What the compression would take is not measured.
  probe_.emplace(copier_->source(), copier_->sink(), copier_->selection(),
                 plan_.compression ? std::nullopt : probe);
}

uint64_t StreamEstimate::chunk_size() const { return kLookChunk; }

ChunkResult StreamEstimate::Process(uint64_t offset, uint64_t length) {
  return probe_ ? probe_->Estimate(offset, length) : 0;
}

Status StreamEstimate::Settle() {
  if (probe_) probe_->Finish();
  return {};
}

}  // namespace chainfs::jobs
