// SPDX-License-Identifier: Apache-2.0
//
// CommitMarks: what a commit makes durable about the layers whose contents change: set before base
// is first written, and cleared once base has everything, or when nothing was written after all.
//
// Threads: BaseIsWritten, any; the rest from one at a time.
#pragma once

#include <atomic>
#include <string>

#include "jobs/commit/commit_plan.h"

namespace chainfs::jobs {

class CommitMarks {
 public:
  // References outlive this. `id`: of the job.
  CommitMarks(Catalog& catalog, const DiskPtr& disk, const CommitPlan& plan, std::string id)
      : catalog_(catalog), disk_(disk), plan_(plan), id_(std::move(id)) {}

  const std::string& id() const { return id_; }
  // kBusy when somebody has come to be built on one of the layers; the marks are then what they
  // were.
  Status Set();
  // From here on base may show something else than it did.
  void BaseIsWritten() { written_.store(true, std::memory_order_relaxed); }
  // Before top is marked as left out: once nobody leads through it, base may be written again, and
  // then top shows something else, too. So it must not count as built on base.
  Status MarkTop() {
    CHAINFS_TRY(catalog_.moves().MarkChanging(*disk_, {plan_.top}, plan_.whole(), id_));
    return {};
  }
  // Base has everything, durably. The mark of an earlier commit that did not finish, from a higher
  // top than this one, stays.
  Status Clear();
  // The job ends without that: layers that nobody has written are what they were. Does nothing when
  // Set was not called.
  void GiveUp();
  // Nobody keeps what the own disk of base showed.
  void TellChanged() { catalog_.moves().TellChanged({plan_.base}); }

 private:
  Catalog& catalog_;
  const DiskPtr& disk_;
  const CommitPlan& plan_;
  const std::string id_;
  ChainMoves::TakeBack take_back_;  // from Set until Clear or GiveUp
  std::atomic<bool> written_ = false;
};

}  // namespace chainfs::jobs
