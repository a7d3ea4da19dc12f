// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_space.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

// Bytes that base gains at most: what the merged layers occupy, but no more than it has not got.
std::optional<uint64_t> MostGained(const CommitPlan& plan) {
  uint64_t merged = 0;
  for (const LayerPtr& layer : plan.merged) {
    const Result<uint64_t> bytes = layer->image->AllocatedBytes();
    if (!bytes) return std::nullopt;
    merged += *bytes;
  }
  const uint64_t size = std::max(plan.top->image->virtual_size(), plan.base->image->virtual_size());
  const uint64_t held = plan.base->image->AllocatedBytes().value_or(0);
  return std::min(merged, size - std::min(size, held));
}

}  // namespace

std::optional<std::string> CommitSpaceWarning(const std::string& base, uint64_t needed,
                                              uint64_t free) {
  if (free >= needed) return std::nullopt;
  constexpr double kMiB = 1 << 20;
  return EscapeText(fmt::format(
      "{}: the commit may need up to {:.1f} MiB, but its file system has {:.1f} MiB free; free "
      "some, use reclaim=yes, or on-error=enospc to have it pause instead of failing",
      base, static_cast<double>(needed) / kMiB, static_cast<double>(free) / kMiB));
}

std::optional<std::string> CommitSpaceWarning(const CommitPlan& plan) {
  const std::optional<uint64_t> needed = MostGained(plan);
  if (!needed) return std::nullopt;
  struct statvfs host = {};
  if (::statvfs(plan.base->path.c_str(), &host) != 0) return std::nullopt;
  return CommitSpaceWarning(plan.base->path, *needed, uint64_t{host.f_bavail} * host.f_frsize);
}

}  // namespace chainfs::jobs
