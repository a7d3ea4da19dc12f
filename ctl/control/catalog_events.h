// SPDX-License-Identifier: Apache-2.0
//
// CatalogEvents: the one observer of the catalog. What the catalog tells becomes a change of the
// list of served disks, calls of the presentation, a last error, a line of the log and an event, in
// this order; jobs that wait for a disk are tried again, and chains looked at that may be too long.
//
// Invariant: CTL-4 (README.md).
//
// Threads: any; see CatalogObserver. Takes locks of the control plane and of the event log alone.
#pragma once

#include <atomic>
#include <string_view>

#include "blocklayer/catalog/catalog.h"
#include "ctl/control/compactor.h"
#include "ctl/control/last_errors.h"
#include "ctl/control/presentation.h"
#include "ctl/control/served_disks.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class CatalogEvents final : public CatalogObserver {
 public:
  // All must outlive this.
  CatalogEvents(Catalog& catalog, ServedDisks& disks, LastErrors& errors, jobs::EventLog& events,
                jobs::JobManager& jobs, Compactor& compactor);
  ~CatalogEvents() override;

  // Null: nobody. It is told of the disks that are there already; the one before of nothing any
  // more, but for errors of disks that are still used.
  void Present(Presentation* presentation);
  void ReleaseEventReaders();
  // Of the presentation; whoever presents nothing has nothing that is not written yet.
  Status TakeInChanges(const Disk& disk, uint64_t from);
  // Of the presentation; whoever presents nothing keeps nobody away.
  bool LetsWrite(const Disk* disk, const Caller& caller) const;

  void DiskAdded(const DiskPtr& disk) override;
  void DiskRemoved(const DiskPtr& disk) override;
  void ChainChanged(const DiskPtr& disk) override;
  void ContentsChanged(const DiskPtr& disk) override;
  void SizeChanged(const DiskPtr& disk, bool shrunk) override;
  void AccessChanged(const DiskPtr& disk) override;
  void DiskError(const Disk& disk, std::string_view operation, const Error& error) override;
  void ImageBroken(const BrokenImage& image) override;
  void Warned(const ImageNote& note) override;

 private:
  Catalog& catalog_;
  ServedDisks& disks_;
  LastErrors& errors_;
  jobs::EventLog& events_;
  jobs::JobManager& jobs_;
  Compactor& compactor_;
  std::atomic<Presentation*> presentation_ = nullptr;
};

}  // namespace chainfs::control
