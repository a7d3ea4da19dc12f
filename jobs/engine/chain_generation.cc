// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/chain_generation.h"

#include <fmt/format.h>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {

Status CheckGeneration(const Disk& disk, std::optional<uint64_t> expected) {
  const uint64_t now = disk.chain()->generation;
  if (!expected || *expected == now) return {};
  return Fail(
      ErrorKind::kStale,
      EscapeText(fmt::format("the chain of {} has changed: generation {} was expected, it is {}",
                             disk.name(), *expected, now)));
}

}  // namespace chainfs::jobs
