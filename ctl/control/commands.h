// SPDX-License-Identifier: Apache-2.0
//
// Commands: what a write to user.chainfs.VERB does. Each verb is a row: the keys that it takes,
// where it may be given, and a function. A row only translates; the work is the job manager's.
//
// The kernel holds the inode lock of the file during setxattr, so a verb queues and returns. Some
// do short I/O of necessity: `snapshot` and `revert` (files, the switch of the disk), `flush`,
// `thaw`.
//
// Threads: all methods, any thread; no lock of its own.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class Commands {
 public:
  // All must outlive this. `release_events` sends the readers of the events away.
  Commands(Catalog& catalog, jobs::JobManager& jobs, std::function<void()> release_events)
      : catalog_(catalog), jobs_(jobs), release_events_(std::move(release_events)) {}

  // Whether `name` (without the prefix) is a verb, so that reading it is "write-only".
  static bool IsVerb(std::string_view name);

  // `disk` null: given on the root of the mount. `privileged`: targets may lie anywhere.
  // kUnsupported for an unknown verb or one that does not belong there.
  Status Execute(std::string_view verb, std::string_view value, const DiskPtr& disk,
                 bool privileged);

 private:
  struct Call {
    const verbs::Arguments& arguments;
    DiskPtr disk;  // null on the root
    bool privileged;
  };
  struct Verb;
  using JobAction = Status (jobs::JobManager::*)(std::string_view disk, std::string_view id);

  static const std::vector<Verb>& Verbs();
  static const Verb* FindVerb(std::string_view name);

  // The checks that every verb shares; true when there is nothing more to do (a dry run of
  // something that only acts).
  Status CheckGeneration(const Call& call) const;
  Status Stream(const Call& call);
  Status Snapshot(const Call& call);
  Status Revert(const Call& call);
  Status Flush(const Call& call);
  Status Speed(const Call& call);
  Status Control(const Call& call, JobAction action);

  // The disk and the job id that a job verb names; either may be empty.
  struct Target {
    std::string disk;
    std::string id;
  };
  Result<Target> FindTarget(const Call& call) const;

  Catalog& catalog_;
  jobs::JobManager& jobs_;
  const std::function<void()> release_events_;
};

}  // namespace chainfs::control
