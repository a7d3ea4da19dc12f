// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/layer_claims.h"

#include <algorithm>

namespace chainfs::jobs {
namespace {

bool Share(const Layers& a, const Layers& b) {
  return std::ranges::any_of(
      a, [&](const LayerPtr& layer) { return std::ranges::find(b, layer) != b.end(); });
}

bool Spoils(const LayerClaims& a, const LayerClaims& b) {
  return Share(a.fills, b.fills) || Share(a.fills, b.drops) || Share(a.writes, b.reads) ||
         Share(a.writes, b.fills) || Share(a.writes, b.writes) || Share(a.writes, b.drops);
}

}  // namespace

bool Conflict(const LayerClaims& a, const LayerClaims& b) { return Spoils(a, b) || Spoils(b, a); }

}  // namespace chainfs::jobs
