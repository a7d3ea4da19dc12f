// SPDX-License-Identifier: Apache-2.0
#include "jobs/stream/space_check.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {

std::optional<std::string> SpaceWarning(const std::string& top, uint64_t needed, uint64_t free) {
  if (free >= needed) return std::nullopt;
  constexpr double kMiB = 1 << 20;
  return EscapeText(fmt::format(
      "{}: the stream may need up to {:.1f} MiB, but its file system has {:.1f} MiB free; free "
      "some, or use on-error=enospc to have it pause instead of failing",
      top, static_cast<double>(needed) / kMiB, static_cast<double>(free) / kMiB));
}

std::optional<uint64_t> SpaceNeeded(const StreamPlan& plan) {
  uint64_t needed = 0;
  for (const LayerPtr& layer : plan.between) {
    const Result<uint64_t> bytes = layer->image->AllocatedBytes();
    if (!bytes) return std::nullopt;
    needed += *bytes;
  }
  // What top has already need not be copied; metadata is small beside it.
  const Result<uint64_t> held = plan.top->image->AllocatedBytes();
  const uint64_t size = plan.top->image->virtual_size();
  return std::min(needed, size - std::min(size, held.value_or(0)));
}

std::optional<std::string> SpaceWarning(const StreamPlan& plan) {
  if (plan.nothing_to_do()) return std::nullopt;
  const std::optional<uint64_t> needed = SpaceNeeded(plan);
  if (!needed) return std::nullopt;
  struct statvfs host = {};
  if (::statvfs(plan.top->path.c_str(), &host) != 0) return std::nullopt;
  return SpaceWarning(plan.top->path, *needed, uint64_t{host.f_bavail} * host.f_frsize);
}

}  // namespace chainfs::jobs
