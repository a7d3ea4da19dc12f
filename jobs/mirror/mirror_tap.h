// SPDX-License-Identifier: Apache-2.0
//
// MirrorTap: a mirror's ear at its disk: what a guest has written is copied at once, or noted to be
// copied soon. Where copying at once fails it is noted, too: the job, not the guest, hears of the
// failure. The disk keeps its size meanwhile.
//
// Threads: as WriteTap; the rest any.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "blocklayer/chain/write_tap.h"
#include "jobs/engine/dirty_set.h"
#include "jobs/mirror/mirror_copy.h"
#include "jobs/mirror/mirror_plan.h"

namespace chainfs::jobs {

class MirrorTap final : public WriteTap {
 public:
  // `size` bytes are mirrored. `who` is the job, for messages.
  MirrorTap(std::string who, uint64_t size, std::shared_ptr<DirtySet> dirty,
            std::shared_ptr<MirrorCopy> copy, CopyMode mode);

  // kBusy for a change of the disk's size.
  Status BeforeChange(GuestOffset offset, uint64_t length) override;
  void AfterChange(GuestOffset offset, uint64_t length) noexcept override;

  CopyMode mode() const { return mode_.load(std::memory_order_relaxed); }
  void SetMode(CopyMode mode) { mode_.store(mode, std::memory_order_relaxed); }
  // The target is complete: what is written from now on is none of its business. Only while the
  // disk is quiet.
  void StopFollowing() { follows_.store(false); }

 private:
  bool CopyNow(uint64_t offset, uint64_t length) noexcept;

  const std::string who_;
  const uint64_t size_;
  const std::shared_ptr<DirtySet> dirty_;
  const std::shared_ptr<MirrorCopy> copy_;
  std::atomic<CopyMode> mode_;
  std::atomic<bool> follows_ = true;
};

}  // namespace chainfs::jobs
