// SPDX-License-Identifier: Apache-2.0
//
// JobRecorder: who keeps a job's durable record up to date while it runs. A dry run has none.
//
// Threads: Save from any; EnterPivot, EnterUndo and Remove as ChunkWork's Pivot, Undo and Release,
// whose neighbours they are.
#pragma once

#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

class JobRecorder {
 public:
  virtual ~JobRecorder() = default;

  // The record says that the job is about to do what cannot be taken back. Durable on return.
  virtual Status EnterPivot() = 0;
  // The same: that the job is about to be undone, for that reason; empty: it was cancelled.
  virtual Status EnterUndo(const std::string& reason) = 0;
  // Failure is logged, not fatal.
  virtual void Save(const JobParameters& parameters) = 0;
  // The job has ended. Failure is logged: the next daemon finds nothing left to do.
  virtual void Remove() = 0;
};

}  // namespace chainfs::jobs
