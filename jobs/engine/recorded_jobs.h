// SPDX-License-Identifier: Apache-2.0
//
// RecordedJobs: what a daemon finds when it starts: records of jobs that were not finished. One
// that cannot be taken up (its disk is busy, or not there yet) waits; it keeps its id, so that no
// new job takes the place of its record, and is tried again whenever something has changed that may
// help.
//
// Threads: all methods, any thread.
#pragma once

#include "jobs/engine/job_starter.h"

namespace chainfs::jobs {

class RecordedJobs {
 public:
  // All outlive this.
  RecordedJobs(Catalog& catalog, JobRegistry& registry, JobStarter& starter, JobArena& arena)
      : catalog_(catalog), registry_(registry), starter_(starter), arena_(arena) {}

  // Reads the records and tries each. Once, after the catalog is open.
  void ResumeAll();
  // Tries those that wait again, soon and in the background. Cheap, also with locks held.
  void RetrySoon();
  // One that waits is cancelled: its record goes; but where its type `undoes`, the record says so
  // from now on, and the job is taken up to be undone as soon as it can be.
  Status Cancel(std::string_view disk, std::string_view id);
  // Its record goes, whatever it did.
  Status Forget(std::string_view disk, std::string_view id);

 private:
  // A waiting job that was taken in hand; put down by the destructor, however it ends.
  class Hand;

  // What jobs of earlier daemons have left besides their records, which are gone.
  void RemoveOrphans();
  void TryAll();
  // Keeps the reason why it was not taken up.
  void TryOne(const RecordStore::Record& record);
  Status TakeUp(const RecordStore::Record& record);

  Catalog& catalog_;
  JobRegistry& registry_;
  JobStarter& starter_;
  JobArena& arena_;
};

}  // namespace chainfs::jobs
