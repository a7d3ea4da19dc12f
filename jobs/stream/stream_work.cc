// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/stream_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/copy/range_copier.h"

namespace chainfs::jobs {
namespace {

// Granules that were read and whose turn has not come: 256 MiB.
constexpr uint32_t kReadsRemembered = 4096;

}  // namespace

StreamWork::StreamWork(Catalog& catalog, DiskPtr disk, StreamPlan plan, RemoveLayers remove)
    : catalog_(catalog),
      disk_(std::move(disk)),
      plan_(std::move(plan)),
      remove_(remove),
      top_(*plan_.top->image->writer()),
      cluster_size_(top_.cluster_size()),
      length_(plan_.length()),
      reads_(std::make_shared<FirstReads>(kReadsRemembered)),
      source_(length_, ChunkUnit(cluster_size_, plan_.compression), reads_, plan_.trace) {
  if (!plan_.nothing_to_do())
    copier_.emplace(top_, plan_.below, plan_.dropped(), plan_.compression);
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
    disk_->read_taps().Add(reads_);
  } else {
    Release();
  }
  return status;
}

void StreamWork::Release() {
  StopListening();
  lease_.reset();
}

uint64_t StreamWork::chunk_size() const { return std::max(kLargestCopy, cluster_size_); }

ChunkResult StreamWork::Process(uint64_t offset, uint64_t length) {
  if (!copier_) return 0;
  // Only whole clusters can be populated, but for the last one of the disk. Which that is changes
  // when the disk grows, also meanwhile.
  for (;;) {
    const uint64_t size = top_.virtual_size();
    const uint64_t end = std::min(RoundUp(offset + length, cluster_size_), size);
    ChunkResult done = copier_->ranges().Process(offset, end - offset);
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
  CHAINFS_ASSIGN(const std::optional<BackingReference> backing, NewBacking());
  CHAINFS_TRY(top_.CanSetBacking(backing));
  CHAINFS_TRY(catalog_.MarkLeftOut(*disk_, *plan_.top, plan_.between));
  CHAINFS_TRY(top_.SetBacking(backing));
  catalog_.DropLayersBetween(plan_.top, plan_.base);
  return {};
}

LeftOutLayers StreamWork::LeftOut() {
  if (plan_.nothing_to_do()) return {};
  if (remove_ == RemoveLayers::kNo) {
    return {.unneeded = catalog_.Unneeded(*plan_.top, plan_.between), .removed = {}, .problem = {}};
  }
  return catalog_.RemoveUnneeded(*plan_.top, plan_.between, remove_ == RemoveLayers::kAnywhere);
}

}  // namespace chainfs::jobs
