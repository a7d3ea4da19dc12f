// SPDX-License-Identifier: Apache-2.0
//
// RecordFile: the record of a running job beside the images of its disk (job_record.h).
//
// Threads: any. mu_ orders writers of the record and is held across that I/O.
#pragma once

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/record_store.h"
#include "jobs/engine/job_record.h"
#include "jobs/engine/job_recorder.h"

namespace chainfs::jobs {

class RecordFile final : public JobRecorder {
 public:
  // `store` outlives this.
  RecordFile(RecordStore& store, DiskPtr disk, JobRecord record)
      : store_(store), disk_(std::move(disk)), record_(std::move(record)) {}

  // First of all. Never over the record of another job, which would be lost with it: kExists.
  Status Create() EXCLUDES(mu_);
  // First of all, for a job that is taken up: its record is there, perhaps as an older text.
  Status Renew() EXCLUDES(mu_);

  // The group that it named has happened.
  void LeaveGroup() EXCLUDES(mu_);

  Status EnterPivot() override EXCLUDES(mu_);
  Status EnterUndo(const std::string& reason) override EXCLUDES(mu_);
  void Save(const JobParameters& parameters) override EXCLUDES(mu_);
  void Remove() override EXCLUDES(mu_);

 private:
  Status Write() REQUIRES(mu_);

  RecordStore& store_;
  const DiskPtr disk_;
  Mutex mu_;
  JobRecord record_ GUARDED_BY(mu_);
};

}  // namespace chainfs::jobs
