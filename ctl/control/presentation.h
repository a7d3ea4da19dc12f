// SPDX-License-Identifier: Apache-2.0
//
// Presentation: what a transport has to do when the disks that it shows change. The control plane
// calls it, before it publishes the event that tells of the change, so that whoever is told finds
// that done.
//
// Threads: any; the calls for one disk come one at a time and in order. Some come with locks of the
// catalog held, so they must be quick, and must neither wait nor call the catalog; those that may
// say so.
#pragma once

#include "ctl/control/caller.h"
#include "ctl/control/served_disks.h"

namespace chainfs::control {

class Presentation {
 public:
  virtual ~Presentation() = default;
  // The disk takes the place of another of its name.
  virtual void DiskAdded(const ServedDiskPtr& disk) = 0;
  virtual void DiskRemoved(const Disk& disk) = 0;
  // Whether it can be written, or the space that it occupies, has changed.
  virtual void AttributesChanged(const Disk& disk) = 0;
  // It shows other contents, perhaps of another size.
  virtual void ContentsChanged(const Disk& disk) = 0;
  // It has another size. Comes after the call of those above that goes with it.
  virtual void SizeChanged(const Disk& /*disk*/) {}
  // What programs have changed in memory that they share with the disk, from the offset `from` on,
  // reaches the disk before this returns, but for what they change meanwhile. kBusy when that takes
  // too long. Waits for requests that others must serve; never called with locks held.
  virtual Status TakeInChanges(const Disk& /*disk*/, uint64_t /*from*/) { return {}; }
  // Those who wait for events now are to leave.
  virtual void ReleaseEventReaders() = 0;

  // Whether the mode with which it shows the disk (null: the mount) lets the caller write, which is
  // what a kernel asks of whoever sets an attribute. Does I/O; never called with locks held.
  virtual bool LetsWrite(const Disk* /*disk*/, const Caller& /*caller*/) const { return true; }
};

}  // namespace chainfs::control
