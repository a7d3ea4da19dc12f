// SPDX-License-Identifier: Apache-2.0
//
// TransactionCommand: the verb `transaction`: several commands on disks of a mount, all of which
// are carried out, or none.
//
// Its actions are snapshots, which happen at one point in time, and the starts of jobs. First
// everything is checked; then the jobs are accepted, paused, so that each of them can be cancelled
// with nothing done; then the snapshots are taken together, which cannot be undone and so comes
// last; then the jobs go on. When a step fails, the jobs are cancelled. A crash in between leaves
// the jobs that were accepted, paused.
//
// Threads: any; no lock of its own.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class TransactionCommand {
 public:
  // Both outlive this.
  TransactionCommand(Catalog& catalog, jobs::JobManager& jobs) : catalog_(catalog), jobs_(jobs) {}

  // `actions`: "DISK/VERB/ARGUMENTS;...", the arguments as the verb takes them, or without them
  // "DISK/VERB". `privileged`: what they name may lie anywhere.
  Status Run(const std::string& actions, bool privileged, bool dry_run);

 private:
  struct Actions {
    std::vector<GroupMember> snapshots;
    std::vector<jobs::JobCommand> starts;
  };
  struct Started {
    DiskPtr disk;
    std::string id;
  };

  Result<Actions> Parse(const std::string& text, bool privileged) const;
  Status AddAction(const std::string& text, bool privileged, Actions& actions) const;
  Status TakeSnapshots(const std::vector<GroupMember>& members, bool dry_run);
  void CancelAll(const std::vector<Started>& started);

  Catalog& catalog_;
  jobs::JobManager& jobs_;
};

}  // namespace chainfs::control
