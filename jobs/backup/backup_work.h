// SPDX-License-Identifier: Apache-2.0
//
// BackupWork: a backup as the scheduler sees it.
//
// Begin makes the partial target and freezes the disk: from its return on the point in time stands,
// also over a restart. Then chunks are copied, the target is made complete, the point is held as
// long as somebody wants it, and what guests wrote meanwhile is merged back (backup_source.h).
//
// A crash at any moment leaves the record, the point and the partial target; the next daemon finds
// all three and goes on. A disk that cannot be written is not frozen: it is copied as it is, and
// after a restart from the beginning.
//
// Threads: as ChunkWork.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "blocklayer/base/sync.h"
#include "jobs/backup/backup_plan.h"
#include "jobs/backup/backup_source.h"
#include "jobs/backup/backup_target.h"
#include "jobs/backup/merge_back.h"
#include "jobs/copy/copy_sink.h"
#include "jobs/copy/range_copier.h"
#include "jobs/copy/stack_source.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

// Of the record of which file a backup has made; its id follows.
inline constexpr std::string_view kTargetRecordPrefix = "target-";

enum class BackupOrigin : uint8_t {
  kCommand,
  kRecord,       // it is taken up
  kRecordToUndo  // and only to be undone
};

class BackupWork final : public ChunkWork {
 public:
  // The catalog outlives the work. `id`: of the job.
  BackupWork(Catalog& catalog, DiskPtr disk, BackupPlan plan, std::string id, BackupOrigin origin);

  Status Prepare() override;
  Status Arrange() override;
  Status Begin() override;
  // From here on after Begin.
  WorkSource& source() override { return *source_; }
  uint64_t unit() const override;
  uint64_t chunk_size() const override;
  bool gets_ready() const override { return plan_.hold && !merging_begun_ && !over_; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  JobFacts Facts() const override;
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  std::optional<Error> EndMustWait() const override;
  Status Settle() override;
  Status Pivot() override;
  Status Undo(const std::function<bool()>& stop) override;
  LeftOutLayers LeftOut() override { return left_out_; }
  void Release() override;

 private:
  // The copying half, while there is something to copy.
  struct Copying {
    Copying(std::shared_ptr<const LayerStack> stack, std::unique_ptr<CopySink> into,
            const CopySelection& selection)
        : source(std::move(stack)), sink(std::move(into)), ranges(source, *sink, selection) {}

    StackSource source;
    std::unique_ptr<CopySink> sink;
    RangeCopier ranges;
  };

  // Which file the target is, durably: inode number 0 until it is made. Without such a record it is
  // over.
  Status RecordTarget(const RecordedFile& target);
  Result<std::optional<RecordedFile>> RecordedTarget() const;
  // As far as it has nothing to do with the point that is to be held.
  Status BeginWithoutPoint();
  Status BeginTarget(uint64_t size);
  Status CheckOverlayName() const;
  Status FindHeldPoint();
  Status BeginPoint();
  Status BeginStages();
  ChunkResult Copy(uint64_t offset, uint64_t length);
  ChunkResult CompleteTarget();
  ChunkResult Withdraw();
  void LetGoOfView();
  // What Begin makes has gone already, in its order.
  bool IsOverAlready() const {
    return origin_ != BackupOrigin::kCommand && !point_ &&
           (target_ == nullptr || target_->complete());
  }

  Catalog& catalog_;
  const DiskPtr disk_;
  const BackupPlan plan_;
  const std::string id_;
  const BackupOrigin origin_;
  std::unique_ptr<BackupTarget> target_;  // null: the point is only held
  std::optional<FrozenPoint> point_;      // nothing: the disk cannot be written
  std::weak_ptr<Disk> view_;              // the disk of the point
  std::string view_name_;
  std::unique_ptr<BackupSource> source_;
  std::unique_ptr<Copying> copying_;
  std::unique_ptr<MergeBack> merge_;
  bool merging_begun_ = false;  // by an earlier daemon
  bool over_ = false;           // so far that only the record is left
  bool arranged_ = false;
  bool begun_ = false;
  bool undone_ = false;
  LeftOutLayers left_out_;

  mutable Mutex mu_;                                     // a leaf
  std::set<uint64_t> failed_ GUARDED_BY(mu_);            // offsets of chunks that were not copied
  mutable std::optional<Error> reason_ GUARDED_BY(mu_);  // why it could not be withdrawn
  mutable int asked_ GUARDED_BY(mu_) = 0;                // since then
  // view_, once somebody has looked at it: who asks whether the end may come must not close it.
  mutable std::shared_ptr<Disk> looked_at_ GUARDED_BY(mu_);
};

}  // namespace chainfs::jobs
