// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_leases.h"

#include "blocklayer/catalog/layer_pool.h"

namespace chainfs {

LayerLease::~LayerLease() {
  if (leases_ != nullptr) leases_->GiveBack(layer_, kind_);
}

Result<LayerLease> LayerLeases::Take(const LayerPtr& layer, LeaseKind kind) {
  const Turn turn(mu_);
  CHAINFS_TRY(pool_.AddLease(layer, kind));
  return LayerLease(this, layer, kind);
}

void LayerLeases::GiveBack(const LayerPtr& layer, LeaseKind kind) {
  const Turn turn(mu_);
  pool_.RemoveLease(layer, kind);
}

}  // namespace chainfs
