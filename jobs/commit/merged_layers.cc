// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/merged_layers.h"

#include <algorithm>

#include "blocklayer/chain/stack_registry.h"
#include "jobs/commit/reclaimer.h"

namespace chainfs::jobs {
LeftOutLayers MergedLayers::Meet(MergedFate fate, const Layer& above) {
  const bool removes = fate == MergedFate::kRemoveInSources || fate == MergedFate::kRemoveAnywhere;
  if (removes) {
    return catalog_.RemoveUnneeded(above, layers_, fate == MergedFate::kRemoveAnywhere);
  }
  LeftOutLayers result{.unneeded = catalog_.Unneeded(above, layers_), .removed = {}, .problem = {}};
  if (fate == MergedFate::kEmpty) Empty(result);
  return result;
}

// From the bottom up: in a layer that is emptied before the one below it, what that one has would
// come to light.
void MergedLayers::Empty(LeftOutLayers& result) {
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    if (std::ranges::find(result.unneeded, (*layer)->path) == result.unneeded.end()) continue;
    const Status emptied = EmptyOne(*layer);
    if (emptied) continue;
    result.problem = emptied.error().message;
    return;
  }
}

Status MergedLayers::EmptyOne(const LayerPtr& layer) {
  CHAINFS_ASSIGN(const LayerLease lease, catalog_.leases().Take(layer, LeaseKind::kFill));
  WritableImage& image = *layer->image->writer();
  {
    const IoEpoch::Guard guard = image.io_epoch().Enter();
    CHAINFS_TRY(image.Unpopulate(GuestOffset(0), image.virtual_size()));
    for (const auto& stack : catalog_.context().stacks().StacksOf(*layer)) {
      stack->DropRegions(GuestOffset(0), UINT64_MAX);
    }
  }
  return FlushUntilGivenBack(image);
}

}  // namespace chainfs::jobs
