// SPDX-License-Identifier: Apache-2.0
//
// ListedJob: a job as the list has it: what users see, and the verbs they may give.
//
// Threads: all methods, any thread.
#pragma once

#include <string>

#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_info.h"

namespace chainfs::jobs {

class ListedJob {
 public:
  virtual ~ListedJob() = default;

  virtual const std::string& id() const = 0;
  virtual bool estimates() const = 0;  // a dry run
  virtual JobInfo Info() const = 0;
  // Whether its course is over: concluded, or on the way there after an error or a cancel.
  virtual bool Finished() const = 0;

  // kInvalidArgument naming the state when a verb is not legal in it.
  virtual Status Cancel() = 0;
  virtual Status Pause() = 0;
  virtual Status Resume() = 0;
  virtual Status SetSpeed(uint64_t bytes_per_second) = 0;  // 0: no limit
  // `arguments`: keys of the verb, apart from those that say which job.
  virtual Status Complete(const verbs::Arguments& arguments) = 0;
  virtual Status Change(const verbs::Arguments& arguments) = 0;
  // Whether dismiss is legal now; the owner then forgets the job.
  virtual Status CheckDismiss() const = 0;

  // From created; nothing if the job was cancelled or stopped meanwhile.
  virtual void Start() = 0;
  // For the end of the daemon: no new chunk; settles what was copied; the record stays. Does not
  // wait. A job that is in its end completes it.
  virtual void Stop() = 0;
  // Until the job has concluded or stopped.
  virtual void WaitStopped() = 0;
};

}  // namespace chainfs::jobs
