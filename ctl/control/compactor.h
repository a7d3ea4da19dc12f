// SPDX-License-Identifier: Apache-2.0
//
// Compactor: keeps chains at or below their limit of layers (chain_limits.h): it starts a stream of
// low priority that merges the oldest (compaction_plan.h), one at a time for a disk, and never
// beside another job of it. What it leaves out stays beside the images: it deletes nothing.
//
// One that fails or is cancelled is not tried again until the chain has changed. One that was
// refused because something is busy is, after a while.
//
// Threads: all methods, any thread. A thread of its own looks, with no lock held; mu_ is a leaf.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/catalog.h"
#include "ctl/control/chain_limits.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class Compactor {
 public:
  // All must outlive this. `patience`: until one that was busy is looked at again.
  Compactor(Catalog& catalog, jobs::JobManager& jobs, const ChainLimits& limits,
            std::chrono::milliseconds patience = std::chrono::seconds(5))
      : catalog_(catalog), jobs_(jobs), limits_(limits), patience_(patience) {}
  ~Compactor() { Stop(); }

  // Once jobs may be started.
  void Start() EXCLUDES(mu_);
  // Starts nothing any more on return. What it has started goes on.
  void Stop() EXCLUDES(mu_);
  // Something has changed. Cheap, also with locks held.
  void LookSoon() EXCLUDES(mu_);

 private:
  void Loop() EXCLUDES(mu_);
  // Whether to come back after a while.
  bool LookAtAll();
  bool Merge(const DiskPtr& disk, const Chain& chain, const std::vector<LayerReport>& reports,
             uint32_t most);
  bool HasUnfinishedJob(const std::string& disk) const;

  Catalog& catalog_;
  jobs::JobManager& jobs_;
  const ChainLimits& limits_;
  const std::chrono::milliseconds patience_;
  // Generations of chains for which a job was started or refused, by name of the disk; the thread's
  // own.
  std::map<std::string, uint64_t> tried_;

  Mutex mu_;
  CondVar news_;
  bool look_ GUARDED_BY(mu_) = true;
  bool stop_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace chainfs::control
