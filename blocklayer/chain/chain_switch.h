// SPDX-License-Identifier: Apache-2.0
//
// ChainSwitch: the moment at which a disk that is being written goes on with another list of
// layers. While it lives no change of the disk is under way and none begins; what may fail is done
// by Prepare, so that whoever makes the new list durable in between knows that Publish will follow.
// Several disks that are held at once change at one moment.
//
// Threads: one; the caller of the disk's other switches (the catalog serializes them). Who only
// keeps changes out, and prepares nothing, may be any.
#pragma once

#include <memory>
#include <vector>

#include "blocklayer/chain/disk.h"

namespace chainfs {

class ChainSwitch {
 public:
  // Waits for changes under way. Not from one who passes the gate of the disk.
  explicit ChainSwitch(Disk& disk);
  // What was prepared and not published is taken back, and changes go on. Then waits for reads
  // through stacks that have retired; so not from one.
  ~ChainSwitch();
  ChainSwitch(const ChainSwitch&) = delete;
  ChainSwitch& operator=(const ChainSwitch&) = delete;

  // kReadOnly while the disk cannot be written.
  Status CheckWritable() const;
  // All that was acknowledged is durable in the old list.
  Status Flush();
  // Makes ready all that may fail. `layers` shows what the disk shows. Its first one, which is to
  // be written, is in no living stack, or is one of the disk's own layers below the active one
  // (CHN-15). kBusy when somebody writes one of them, kReadOnly as above. At most once.
  Status Prepare(Layers layers);
  // After Prepare has succeeded, and what it was for is durable.
  void Publish();

 private:
  // Lets go of what Prepare took.
  void TakeBack();

  Disk& disk_;
  ChainPtr old_;                            // set by Prepare
  LayerPtr to_;                             // the one to go on with
  std::shared_ptr<Chain> next_;             // prepared, not published yet
  std::shared_ptr<const LayerStack> kept_;  // who ends a read of the old list reads no changes
  std::vector<std::shared_ptr<const LayerStack>> retiring_;  // with Publish, if it comes to that
  bool beneath_ = false;                                     // to_ lies below the active layer
  bool taken_ = false;                                       // it counts as written
  bool released_ = false;                                    // the active layer does not any more
};

}  // namespace chainfs
