// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_leases.h"

#include "blocklayer/catalog/layer_pool.h"

namespace chainfs {

LayerLease::~LayerLease() {
  if (leases_ != nullptr) leases_->GiveBack(layer_);
}

Result<LayerLease> LayerLeases::Take(const LayerPtr& layer) {
  const Turn turn(mu_);
  CHAINFS_TRY(pool_.AddStreamTarget(layer));
  return LayerLease(this, layer);
}

void LayerLeases::GiveBack(const LayerPtr& layer) {
  const Turn turn(mu_);
  pool_.RemoveStreamTarget(layer);
}

}  // namespace chainfs
