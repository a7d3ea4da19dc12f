// SPDX-License-Identifier: Apache-2.0
//
// MirrorWork: a mirror as the scheduler sees it: the target, the log, the taps, and the end.
//
// Crash ordering. Begin, for a new target; each step is durable before the next:
//   1. the log says that the target is being made; 2. the target exists; 3. the log says which file
//   it is; 4. with both taps in the disk, the log says that its marks count.
// From there on a region that is not marked is the same on both sides, whenever the daemon ends.
// The end:
//   1. what guests write goes to both sides; what is left is copied, and the target flushed
//   2. the disk is quiet: the last round, the target flushed again. then=pivot: the record of the
//      chain names the target, and the disk goes on with it. A crash before leaves the disk where
//      it was, with the same contents, and the job goes on; a crash after it leaves the disk on the
//      target, and the next daemon finds nothing to do.
//      then=keep: from now on the target stays as it is; the log says so once it is durable.
//   3. the taps go; a target that was kept is given back; the record goes, then the log.
// A job that fails or is cancelled (the record says that it is undone): the log says again that the
// target is being made, the target goes if the job has made it, then the record, then the log.
//
// Threads: as ChunkWork.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/chain_moves.h"
#include "jobs/copy/compress_key.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/dirty_set.h"
#include "jobs/mirror/convergence.h"
#include "jobs/mirror/intent_tap.h"
#include "jobs/mirror/mirror_copy.h"
#include "jobs/mirror/mirror_plan.h"
#include "jobs/mirror/mirror_tap.h"

namespace chainfs::jobs {

class MirrorWork final : public ChunkWork {
 public:
  // The catalog outlives the work. `id`: the job's.
  MirrorWork(Catalog& catalog, MirrorPlan plan, std::string id);
  // After the end the log goes. Else the job is left to the next daemon, and what guests write from
  // now on is still noted.
  ~MirrorWork() override;

  WorkSource& source() override { return *dirty_; }
  uint64_t unit() const override { return copy_ ? ChunkUnit(copy_->unit(), plan_.compression) : 1; }
  uint64_t chunk_size() const override;
  bool gets_ready() const override { return !done_ && end_ == MirrorEnd::kHold; }
  bool UsersWait() const override { return plan_.disk->load().UsersWait(DiskLoad::Clock::now()); }
  JobFacts Facts() const override;
  Status Complete(const verbs::Arguments& arguments) override;
  Status Change(const verbs::Arguments& arguments) override;

  Status Begin() override;
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Settle() override;
  Status Pivot() override;
  Status Undo(const std::function<bool()>& stop) override;
  LeftOutLayers LeftOut() override { return left_out_; }
  void Release() override;

 private:
  // With the target open, and the log still saying that all may differ.
  Status BeginNew();
  Status BeginAgain(const IntentHeader& found);
  void MakeCopy();
  // Hangs the taps in, after which the log's marks count.
  Status Follow(const IntentHeader& header);
  // Takes marks back, unless somebody is at it.
  Status Sweep() EXCLUDES(sweep_mu_);
  void SweepNowAndThen() EXCLUDES(sweep_mu_);
  // Copies until nothing is left.
  Status CopyTheRest();
  Status PivotToTarget();
  Status KeepTarget();
  void TakeDown();

  Catalog& catalog_;
  const MirrorPlan plan_;
  const std::string id_;
  const uint64_t size_;
  std::atomic<MirrorEnd> end_;
  // All there was; what guests write from then on is not worth the time that compressing takes.
  std::atomic<bool> copied_once_ = false;
  bool done_ = false;   // what the job was for
  bool made_ = false;   // the target, by the job
  bool ended_ = false;  // for good
  bool tapped_ = false;
  bool pivot_tried_ = false;
  LeftOutLayers left_out_;  // by the pivot
  TargetImagePtr target_;
  std::shared_ptr<IntentLog> log_;
  std::shared_ptr<DirtySet> dirty_;
  std::shared_ptr<MirrorCopy> copy_;
  std::shared_ptr<MirrorTap> tap_;  // in the disk while tapped_, like the other
  std::shared_ptr<IntentTap> intent_tap_;
  Convergence convergence_;
  std::atomic<std::chrono::steady_clock::rep> swept_ = 0;
  Mutex sweep_mu_;  // held across the I/O of a sweep; nobody waits for it but the end
};

}  // namespace chainfs::jobs
