// SPDX-License-Identifier: Apache-2.0
//
// DiskPresenter: has the nodes, and what the kernel remembers of them, follow the disks. The
// control plane says what changes.
//
// Threads: all methods, any thread, also with the catalog's locks held: only the inode table, the
// invalidator's queue and the watcher's list are touched.
#pragma once

#include "ctl/control/presentation.h"
#include "ctl/control/source_watcher.h"
#include "fusefs/events_file.h"
#include "fusefs/inodes.h"
#include "fusefs/invalidator.h"
#include "fusefs/node_attributes.h"

namespace chainfs::fusefs {

class DiskPresenter final : public control::Presentation {
 public:
  // All must outlive this.
  DiskPresenter(InodeTable& inodes, const NodeAttributes& attributes, Invalidator& invalidator,
                control::SourceWatcher& watcher, EventsFile& events)
      : inodes_(inodes),
        attributes_(attributes),
        invalidator_(invalidator),
        watcher_(watcher),
        events_(events) {}

  void DiskAdded(const control::ServedDiskPtr& disk) override;
  void DiskRemoved(const Disk& disk) override;
  void AttributesChanged(const Disk& disk) override;
  void ContentsChanged(const Disk& disk) override;
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
  control::SourceWatcher& watcher_;
  EventsFile& events_;
};

}  // namespace chainfs::fusefs
