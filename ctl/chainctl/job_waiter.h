// SPDX-License-Identifier: Apache-2.0
//
// Waiting for a job to conclude, without a race: events are opened first, then the state is read,
// and from then on any event that may concern the job only says "look again". The state itself is
// always read from user.chainfs.job.ID. Where events cannot be opened (they are for the owner), the
// state is read twice a second.
//
// What Ctrl-C means is the caller's choice: who started the job has it cancelled and waits for the
// clean stop, a second Ctrl-C leaves it alone; who only watches stops watching. SIGUSR1 shows the
// progress once.
#pragma once

#include <signal.h>

#include <optional>
#include <string>

#include "blocklayer/base/unique_fd.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/progress_bar.h"

namespace chainfs::chainctl {

// Takes SIGINT and SIGUSR1 as readable events while it lives. Make it before the job is started, so
// that no Ctrl-C can fall between.
class WaitSignals {
 public:
  WaitSignals();
  ~WaitSignals();
  WaitSignals(const WaitSignals&) = delete;
  WaitSignals& operator=(const WaitSignals&) = delete;

  int fd() const { return fd_.get(); }
  // The number of a signal that came, or 0.
  int Take();

 private:
  sigset_t before_ = {};
  UniqueFd fd_;
};

enum class OnInterrupt : unsigned char { kCancelJob, kDetach };

struct WaitOptions {
  std::optional<double> timeout;  // seconds
  OnInterrupt on_interrupt = OnInterrupt::kCancelJob;
  bool until_ready = false;  // a job that is ready is waited for no longer
  ProgressBar::Options progress;
};

enum class WaitEnd : unsigned char { kConcluded, kReady, kTimedOut, kDetached };

struct WaitOutcome {
  WaitEnd end = WaitEnd::kConcluded;
  JobReport job;  // as last seen
};

Result<WaitOutcome> WaitForJob(const DiskPath& disk, const std::string& id, WaitSignals& signals,
                               const WaitOptions& options);

}  // namespace chainfs::chainctl
