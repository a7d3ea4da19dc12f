// SPDX-License-Identifier: Apache-2.0
//
// ControlPlane: everything that a transport needs to give orders to a catalog of disks and to say
// how they are. It owns the jobs and the events; a transport hands in a Presentation to be told
// what it has to show.
//
// Threads: the members say theirs; EndJobs any. Construction, Present and destruction belong to one
// thread.
#pragma once

#include <atomic>
#include <span>

#include "blocklayer/catalog/catalog.h"
#include "ctl/control/caller.h"
#include "ctl/control/catalog_events.h"
#include "ctl/control/chain_limits.h"
#include "ctl/control/commands.h"
#include "ctl/control/compactor.h"
#include "ctl/control/last_errors.h"
#include "ctl/control/presentation.h"
#include "ctl/control/read_traces.h"
#include "ctl/control/served_disks.h"
#include "ctl/control/status_attributes.h"
#include "ctl/control/status_files.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class ControlPlane {
 public:
  // `catalog` must outlive this.
  ControlPlane(Catalog& catalog, CommandAccess access, MountConfig config);

  // Null: nobody any more; jobs and requests must have ended by then. What is just being told of a
  // scan is waited for: an image that was repaired in the background may cause one at any time.
  void Present(Presentation* presentation) { changes_.Present(presentation); }
  // What the kernel demands besides of those who give commands by files, for transports that are
  // none: write permission for each of these disks, or for the mount as a whole where the command
  // may be given there. kPermission.
  Status CheckWriting(std::span<const DiskPtr> of, bool or_mount, const Caller& caller) const;
  // Takes up recorded jobs, and keeps chains at their limits from now on.
  void BeginJobs();
  // Publishes SHUTDOWN, brings the jobs to a consistent point and writes the traces, once.
  void EndJobs();

  jobs::EventLog events;
  ServedDisks disks;
  LastErrors errors;
  jobs::JobManager jobs;
  ChainLimits limits;
  Compactor compactor;
  ReadTraces traces;
  Commands commands;
  const StatusAttributes attributes;
  const StatusFiles files;

 private:
  CatalogEvents changes_;
  std::atomic<bool> jobs_ended_ = false;
};

}  // namespace chainfs::control
