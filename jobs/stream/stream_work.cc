// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_work.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kCopyChunk = 1 << 20;
constexpr uint64_t kLookChunk = 64 << 20;

uint64_t LengthOf(const StreamPlan& plan) {
  return plan.nothing_to_do() ? 0 : plan.top->image->virtual_size();
}

void MakeCopier(const StreamPlan& plan, std::optional<StreamCopier>& copier) {
  if (plan.nothing_to_do()) return;
  copier.emplace(*plan.top->image->writer(), plan.below,
                 static_cast<uint32_t>(plan.between.size()));
}

}  // namespace

StreamWork::StreamWork(Catalog& catalog, DiskPtr disk, StreamPlan plan, JobRecord record,
                       bool taken_up)
    : catalog_(catalog),
      disk_(std::move(disk)),
      plan_(std::move(plan)),
      top_(*plan_.top->image->writer()),
      cluster_size_(top_.cluster_size()),
      length_(LengthOf(plan_)),
      source_(length_),
      taken_up_(taken_up),
      record_(std::move(record)) {
  MakeCopier(plan_, copier_);
}

Result<std::optional<BackingReference>> StreamWork::NewBacking() const {
  if (!plan_.base) return std::nullopt;
  CHAINFS_ASSIGN(BackingReference reference, catalog_.ReferenceTo(*disk_, *plan_.top, *plan_.base));
  return reference;
}

Status StreamWork::CheckTop() const {
  if (!top_.writable()) {
    return Fail(ErrorKind::kReadOnly,
                EscapeText(fmt::format("{}: cannot be filled: {}", plan_.top->path,
                                       top_.read_only_reason())));
  }
  if (plan_.nothing_to_do()) return {};
  CHAINFS_ASSIGN(const std::optional<BackingReference> backing, NewBacking());
  return top_.CanSetBacking(backing);
}

Status StreamWork::Prepare() {
  CHAINFS_ASSIGN(LayerLease lease, catalog_.leases().Take(plan_.top));
  lease_.emplace(std::move(lease));
  Status status = CheckTop();
  if (status) {
    MutexLock lock(mu_);
    // Never over the record of another job, which would be lost with it.
    status = taken_up_ ? WriteRecord()
                       : catalog_.records().Create(*disk_, JobRecordName(record_.id),
                                                   FormatJobRecord(record_));
    recorded_ = status.has_value();
  }
  if (!status) Unlock();
  return status;
}

void StreamWork::Unlock() { lease_.reset(); }

Status StreamWork::WriteRecord() {
  return catalog_.records().Write(*disk_, JobRecordName(record_.id), FormatJobRecord(record_));
}

uint64_t StreamWork::chunk_size() const { return std::max(kCopyChunk, cluster_size_); }

ChunkResult StreamWork::Process(uint64_t offset, uint64_t length) {
  if (!copier_) return 0;
  // Only whole clusters can be populated, but for the last one of the disk. Which that is changes
  // when the disk grows, also meanwhile.
  for (;;) {
    const uint64_t size = top_.virtual_size();
    const uint64_t end = std::min(RoundUp(offset + length, cluster_size_), size);
    ChunkResult done = copier_->Process(offset, end - offset);
    if (done || size == top_.virtual_size()) return done;
  }
}

Status StreamWork::Settle() { return copier_ ? top_.Flush() : Status(); }

Result<bool> StreamWork::CoverGrowth(uint64_t& known) {
  const uint64_t size = top_.virtual_size();
  if (size <= known) return false;
  const uint64_t from = RoundDown(known, cluster_size_);
  const ChunkResult done = Process(from, size - from);
  if (!done) return std::unexpected(done.error().error);
  known = size;
  return true;
}

Status StreamWork::Pivot() {
  if (!copier_) return {};
  uint64_t known = length_;
  CHAINFS_ASSIGN(const bool grown, CoverGrowth(known));
  if (grown) CHAINFS_TRY(top_.Flush());
  {
    MutexLock lock(mu_);
    record_.pivoting = true;
    CHAINFS_TRY(WriteRecord());
  }
  CHAINFS_ASSIGN(const std::optional<BackingReference> backing, NewBacking());
  CHAINFS_TRY(top_.CanSetBacking(backing));
  CHAINFS_TRY(catalog_.MarkLeftOut(*disk_, *plan_.top, plan_.between));
  CHAINFS_TRY(top_.SetBacking(backing));
  catalog_.DropLayersBetween(plan_.top, plan_.base);
  return {};
}

LeftOutLayers StreamWork::LeftOut() {
  RemoveLayers remove = RemoveLayers::kNo;
  {
    MutexLock lock(mu_);
    remove = record_.remove;
  }
  if (plan_.nothing_to_do()) return {};
  if (remove == RemoveLayers::kNo) {
    return {.unneeded = catalog_.Unneeded(*plan_.top, plan_.between), .removed = {}, .problem = {}};
  }
  return catalog_.RemoveUnneeded(*plan_.top, plan_.between, remove == RemoveLayers::kAnywhere);
}

void StreamWork::Release() {
  Unlock();
  MutexLock lock(mu_);
  if (!std::exchange(recorded_, false)) return;
  const Status status = catalog_.records().Remove(*disk_, JobRecordName(record_.id));
  if (!status) {
    // The next daemon finds nothing left to do and tries again to remove it.
    spdlog::warn("job {} of {} has ended, but its record stays: {}", record_.id, record_.disk,
                 status.error().message);
  }
}

void StreamWork::SaveParameters(const JobParameters& parameters) {
  MutexLock lock(mu_);
  if (!recorded_) return;
  record_.speed = parameters.speed;
  record_.paused = parameters.paused;
  record_.progress = parameters.progress;
  const Status status = WriteRecord();
  if (!status) {
    spdlog::warn("job {} of {}: its parameters were not recorded: {}", record_.id, record_.disk,
                 status.error().message);
  }
}

StreamEstimate::StreamEstimate(DiskPtr disk, StreamPlan plan, LeftOutLayers left_out)
    : disk_(std::move(disk)),
      plan_(std::move(plan)),
      left_out_(std::move(left_out)),
      source_(LengthOf(plan_)) {
  MakeCopier(plan_, copier_);
}

uint64_t StreamEstimate::chunk_size() const { return kLookChunk; }

ChunkResult StreamEstimate::Process(uint64_t offset, uint64_t length) {
  return copier_ ? copier_->Estimate(offset, length) : 0;
}

}  // namespace chainfs::jobs
