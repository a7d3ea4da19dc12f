// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/guarded_work.h"

#include <utility>

#include "jobs/engine/job_arena.h"

namespace chainfs::jobs {

ChunkResult GuardedWork::Process(ChunkRange chunk) {
  Result<ChunkResult> result = Guarded([&]() -> Result<ChunkResult> {
    return Result<ChunkResult>(std::in_place, work_->Process(chunk.offset, chunk.length));
  });
  if (!result) return std::unexpected(ChunkFailure{std::move(result).error(), false});
  return *std::move(result);
}

Status GuardedWork::Settle() {
  return Guarded([&] { return work_->Settle(); });
}

Status GuardedWork::Pivot() {
  return Guarded([&]() -> Status {
    if (recorder_ != nullptr) CHAINFS_TRY(recorder_->EnterPivot());
    return work_->Pivot();
  });
}

Status GuardedWork::Undo(const std::string& reason, const std::function<bool()>& stop) {
  return Guarded([&]() -> Status {
    if (recorder_ != nullptr) CHAINFS_TRY(recorder_->EnterUndo(reason));
    return work_->Undo(stop);
  });
}

LeftOutLayers GuardedWork::LeftOut() {
  LeftOutLayers left_out;
  const Status status = Guarded([&]() -> Status {
    left_out = work_->LeftOut();
    return {};
  });
  if (!status) left_out.problem = status.error().message;
  return left_out;
}

void GuardedWork::Save(const std::function<std::optional<JobParameters>()>& newest) {
  MutexLock lock(record_mu_);
  if (given_up_ || recorder_ == nullptr) return;
  if (const std::optional<JobParameters> parameters = newest()) recorder_->Save(*parameters);
}

Status GuardedWork::Release() {
  MutexLock lock(record_mu_);
  given_up_ = true;
  return Guarded([&]() -> Status {
    work_->Release();
    if (recorder_ != nullptr) recorder_->Remove();
    return {};
  });
}

void GuardedWork::KeepRecord() {
  MutexLock lock(record_mu_);
  given_up_ = true;
}

}  // namespace chainfs::jobs
