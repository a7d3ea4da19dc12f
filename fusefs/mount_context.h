// SPDX-License-Identifier: Apache-2.0
//
// MountContext: everything that a FUSE handler may use, tied together; what libfuse hands to each
// of them as user data. It also has the nodes follow the catalog while it lives.
#pragma once

#include "blocklayer/base/unique_fd.h"
#include "blocklayer/catalog/catalog.h"
#include "ctl/control/control_plane.h"
#include "ctl/control/source_watcher.h"
#include "fusefs/direct_write_fence.h"
#include "fusefs/disk_presenter.h"
#include "fusefs/events_file.h"
#include "fusefs/handles.h"
#include "fusefs/init_reply.h"
#include "fusefs/inodes.h"
#include "fusefs/invalidator.h"
#include "fusefs/loop_teller.h"
#include "fusefs/node_attributes.h"
#include "fusefs/options.h"

namespace chainfs::fusefs {

class MountContext {
 public:
  // All must outlive this. `served_at_once`: requests.
  MountContext(const Options& with, Catalog& chains, control::ControlPlane& plane,
               unsigned served_at_once);
  ~MountContext();
  MountContext(const MountContext&) = delete;
  MountContext& operator=(const MountContext&) = delete;

  const Options& options;
  Catalog& catalog;
  control::ControlPlane& control;
  const unsigned threads;
  // For the host's free space. Not looked up by name again: it could come to lead to this mount.
  const UniqueFd first_source;

  InitReply init_reply;
  InodeTable inodes;
  const NodeAttributes attributes;
  Invalidator invalidator;
  DirectWriteFence fence;
  LoopTeller loops;
  EventsFile events;
  OpenFiles open_files;
  control::SourceWatcher watcher;

 private:
  DiskPresenter presenter_;
};

}  // namespace chainfs::fusefs
