// SPDX-License-Identifier: Apache-2.0
#include "jobs/rebase/rebase_work.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kChunk = 4 << 20;

}  // namespace

RebaseWork::RebaseWork(Catalog& catalog, DiskPtr disk, RebasePlan plan)
    : catalog_(catalog),
      disk_(std::move(disk)),
      plan_(std::move(plan)),
      comparer_(plan_.Comparer()),
      length_(plan_.length()),
      source_(length_) {}

Status RebaseWork::Prepare() {
  if (plan_.base.already) return {};
  CHAINFS_ASSIGN(LayerLease lease, catalog_.leases().Take(plan_.top));
  lease_.emplace(std::move(lease));
  const Image& top = *plan_.top->image;
  if (top.writable()) return {};
  Release();
  return Fail(ErrorKind::kReadOnly,
              EscapeText(fmt::format("{}: its header cannot be changed: {}", plan_.top->path,
                                     top.read_only_reason())));
}

void RebaseWork::Release() { lease_.reset(); }

uint64_t RebaseWork::chunk_size() const { return std::max<uint64_t>(kChunk, unit()); }

ChunkResult RebaseWork::Process(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(offset + length, length_);
  return offset < end ? comparer_.Compare(offset, end - offset) : 0;
}

Status RebaseWork::Pivot() {
  if (plan_.base.already) return {};
  if (plan_.unsafe) return catalog_.rebases().PivotToOther(disk_, plan_.top, plan_.base);
  return catalog_.rebases().Pivot(disk_, plan_.top, plan_.base, [this]() -> Status {
    const uint64_t size = plan_.top->image->virtual_size();
    if (size <= length_) return {};
    const ChunkResult same = comparer_.Compare(length_, size - length_);
    return same ? Status() : Status(std::unexpected(same.error().error));
  });
}

}  // namespace chainfs::jobs
