// SPDX-License-Identifier: Apache-2.0
//
// Commands: what is done when somebody gives a verb. What a verb takes and where it may be given is
// in the table of verbs (ctl/verbs/verb_table.h), whose checks come first. A verb that is the name
// of a type of job starts one; for the others there is a function here.
//
// A verb queues and returns, because a transport may keep others from the disk meanwhile (a kernel
// holds its inode lock during setxattr). Some do short I/O of necessity: `snapshot` and `revert`
// (files, the switch of the disk), `resize`, `bitmap`, `flush`, `thaw`, `max-layers` (a record),
// `trace` (a file).
//
// Threads: all methods, any thread; no lock of its own.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "ctl/control/caller.h"
#include "ctl/control/chain_limits.h"
#include "ctl/control/read_traces.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class Commands {
 public:
  struct Hooks {
    std::function<void()> release_events;  // sends the readers of the events away
    std::function<void()> limits_changed;
    // Before it is looked what a disk holds (presentation.h). Empty: there is nobody to ask.
    std::function<Status(const Disk&, uint64_t from)> take_in_changes = {};
    // Users of the disks go on with the sizes that these had.
    bool kernel_keeps_sizes = false;
  };
  // All must outlive this.
  Commands(Catalog& catalog, jobs::JobManager& jobs, ChainLimits& limits, ReadTraces& traces,
           CommandAccess access, Hooks hooks)
      : catalog_(catalog),
        jobs_(jobs),
        limits_(limits),
        traces_(traces),
        access_(access),
        hooks_(std::move(hooks)) {}

  // Whether it carries `verb` out; true for every row of the table.
  static bool CarriesOut(std::string_view verb);

  // What Execute checks first: kPermission, and kUnsupported for the name of a status.
  Status CheckCaller(std::string_view verb, const Caller& caller) const;
  // `disk` null: given on the mount. kPermission; kUnsupported for an unknown verb, one that does
  // not belong there, and the name of a status; kInvalidArgument for what its row does not permit.
  Status Execute(std::string_view verb, std::string_view value, const DiskPtr& disk,
                 const Caller& caller);

 private:
  struct Call {
    const verbs::Arguments& arguments;
    DiskPtr disk;     // null on the mount
    bool privileged;  // what it names may lie anywhere
  };
  struct Handler {
    std::string_view verb;
    std::function<Status(Commands&, const Call&)> run;
    bool reserves = false;  // and checks the generation itself, under its reservation
  };
  using JobAction = Status (jobs::JobManager::*)(const DiskPtr& disk, std::string_view id);

  static const std::vector<Handler>& Handlers();

  static Status CheckGeneration(const Call& call);
  Status Transaction(const Call& call);
  Status Revert(const Call& call);
  Status Resize(const Call& call);
  Status Flush(const Call& call);
  Status LimitLayers(const Call& call);
  Status Trace(const Call& call);
  Status Speed(const Call& call);
  Status Control(const Call& call, JobAction action);
  // The job that a job verb names; empty when it names none.
  static std::string JobIdOf(const Call& call);

  Catalog& catalog_;
  jobs::JobManager& jobs_;
  ChainLimits& limits_;
  ReadTraces& traces_;
  const CommandAccess access_;
  const Hooks hooks_;
};

}  // namespace chainfs::control
