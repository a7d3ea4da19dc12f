// SPDX-License-Identifier: Apache-2.0
//
// LayerLeases: a job that writes to a layer below the active one, or makes what one shows wrong,
// takes a lease on it. While the lease lives, the file carries the locks of what is done to it, so
// no other process reads or writes it. Leases on one layer nest.
//
// Threads: any. Taking one and giving it back wait for the turn of a scan (turn_mutex.h), so
// neither may happen under a lock that a scan needs. No lease outlives the catalog.
#pragma once

#include <utility>

#include "blocklayer/catalog/lease_kind.h"
#include "blocklayer/catalog/turn_mutex.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

class LayerLeases;
class LayerPool;

// Gives the locks back when it goes.
class LayerLease {
 public:
  LayerLease(LayerLease&& other) noexcept
      : leases_(std::exchange(other.leases_, nullptr)),
        layer_(std::move(other.layer_)),
        kind_(other.kind_) {}
  LayerLease& operator=(LayerLease&&) = delete;
  ~LayerLease();

 private:
  friend class LayerLeases;
  LayerLease(LayerLeases* leases, LayerPtr layer, LeaseKind kind)
      : leases_(leases), layer_(std::move(layer)), kind_(kind) {}

  LayerLeases* leases_;  // null: moved from
  LayerPtr layer_;
  LeaseKind kind_;
};

class LayerLeases {
 public:
  // Both outlive this. `mu` guards the pool.
  LayerLeases(TurnMutex& mu, LayerPool& pool) : mu_(mu), pool_(pool) {}

  // Opens the layer for writing where it is not, unless it is a kCommitMiddle. kBusy when another
  // process's locks conflict, kReadOnly when it cannot be written; nothing has changed then.
  Result<LayerLease> Take(const LayerPtr& layer, LeaseKind kind = LeaseKind::kFill) EXCLUDES(mu_);

 private:
  friend class LayerLease;
  void GiveBack(const LayerPtr& layer, LeaseKind kind) EXCLUDES(mu_);

  TurnMutex& mu_;
  LayerPool& pool_ GUARDED_BY(mu_);
};

}  // namespace chainfs
