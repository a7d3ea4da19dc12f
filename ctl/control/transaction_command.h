// SPDX-License-Identifier: Apache-2.0
//
// TransactionCommand: the verb `transaction`: several commands on disks of a mount, all of which
// are carried out, or none.
//
// Its actions are snapshots and the starts of jobs. What they freeze is frozen at one moment, which
// also decides whether all of it has happened (jobs/engine/group_starter.h).
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

  Result<Actions> Parse(const std::string& text, bool privileged) const;
  Status AddAction(const std::string& text, bool privileged, Actions& actions) const;

  Catalog& catalog_;
  jobs::JobManager& jobs_;
};

}  // namespace chainfs::control
