// SPDX-License-Identifier: Apache-2.0
//
// DiskPresenter: has the nodes, and what the kernel remembers of them, follow the disks. The
// control plane says what changes.
//
// Threads: all methods, any thread. Those that the catalog may call with its locks held touch only
// the inode table, the queues of the invalidator and of the loop devices, and the watcher's list.
#pragma once

#include <atomic>

#include "ctl/control/presentation.h"
#include "ctl/control/source_watcher.h"
#include "fusefs/events_file.h"
#include "fusefs/inodes.h"
#include "fusefs/invalidator.h"
#include "fusefs/loop_teller.h"
#include "fusefs/node_attributes.h"

namespace chainfs::fusefs {

class DiskPresenter final : public control::Presentation {
 public:
  // All must outlive this. `threads` serve requests.
  DiskPresenter(InodeTable& inodes, const NodeAttributes& attributes, Invalidator& invalidator,
                LoopTeller& loops, control::SourceWatcher& watcher, EventsFile& events,
                unsigned threads)
      : inodes_(inodes),
        attributes_(attributes),
        invalidator_(invalidator),
        loops_(loops),
        watcher_(watcher),
        events_(events),
        most_waiting_(threads / 2) {}

  void DiskAdded(const control::ServedDiskPtr& disk) override;
  void DiskRemoved(const Disk& disk) override;
  void AttributesChanged(const Disk& disk) override;
  void ContentsChanged(const Disk& disk) override;
  void SizeChanged(const Disk& disk) override;
  // kUnsupported where there is but one thread to serve requests.
  Status TakeInChanges(const Disk& disk, uint64_t from) override;
  void ReleaseEventReaders() override { events_.Release(); }
  bool LetsWrite(const Disk* disk, const control::Caller& caller) const override;

  // Looks at every disk for changes that nobody announces (read-only or not; modes of images and
  // directories). Not with locks held.
  void AnnounceChangedModes();

 private:
  // Has the kernel forget what it knew of the names of `disk`.
  void ForgetNames(const Disk& disk, const InodeTable::NameChange& change);

  InodeTable& inodes_;
  const NodeAttributes& attributes_;
  Invalidator& invalidator_;
  LoopTeller& loops_;
  control::SourceWatcher& watcher_;
  EventsFile& events_;
  // So many threads at once wait in TakeInChanges: they may be of those who serve requests, and
  // there must be others who serve what the kernel writes back.
  const unsigned most_waiting_;
  std::atomic<unsigned> waiting_ = 0;
};

}  // namespace chainfs::fusefs
