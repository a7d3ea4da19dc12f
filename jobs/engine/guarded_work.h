// SPDX-License-Identifier: Apache-2.0
//
// GuardedWork: a job's work and its record as its run holds them. Nothing that the work throws
// escapes, a record is never saved once it was given up, and the work is gone (with its layers)
// when the run says so.
//
// Threads: Process from several at once; Save from any; the rest from one at a time, when no
// Process is under way. record_mu_ orders Save against Release and KeepRecord, so that a record is
// never written after it was removed. It is taken before the run's lock and held across I/O.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/base/sync.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/job_recorder.h"

namespace chainfs::jobs {

class GuardedWork {
 public:
  // `recorder` null: nothing is recorded.
  GuardedWork(std::unique_ptr<ChunkWork> work, std::unique_ptr<JobRecorder> recorder)
      : work_(std::move(work)), recorder_(std::move(recorder)) {}

  // Until Destroy.
  ChunkWork& work() { return *work_; }
  const ChunkWork& work() const { return *work_; }
  ChunkResult Process(ChunkRange chunk);
  Status Settle();
  // The record says so first.
  Status Pivot();
  // The record says so first.
  Status Undo(const std::string& reason, const std::function<bool()>& stop);
  // When the work throws, its reason is the problem: what the job was for is done.
  LeftOutLayers LeftOut();

  // Saves what `newest` returns, unless it is nothing; `newest` is asked with record_mu_ held, so
  // that an older answer never replaces a newer one.
  void Save(const std::function<std::optional<JobParameters>()>& newest) EXCLUDES(record_mu_);
  // The job has ended for good: the work's locks go, then the record. Nothing is saved afterwards.
  Status Release() EXCLUDES(record_mu_);
  // The job is left to the next daemon: the record stays as it is.
  void KeepRecord() EXCLUDES(record_mu_);
  // After one of the two.
  void Destroy() {
    work_.reset();
    recorder_.reset();
  }

 private:
  Mutex record_mu_;
  bool given_up_ GUARDED_BY(record_mu_) = false;  // the record, for good or to the next daemon
  // Lanes use it while there is one, Save until given_up_, the one end until Destroy.
  std::unique_ptr<ChunkWork> work_;
  std::unique_ptr<JobRecorder> recorder_;
};

}  // namespace chainfs::jobs
