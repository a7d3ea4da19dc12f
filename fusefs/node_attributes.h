// SPDX-License-Identifier: Apache-2.0
//
// NodeAttributes: what stat shows of a node: its mode, owner, size and times, made of the options,
// of the disk, and of what chmod, chown and utimens set.
//
// Threads: all methods, any thread; takes Node::mu alone, and looks at the images' attributes.
#pragma once

#include <sys/stat.h>

#include <ctime>

#include "ctl/control/caller.h"
#include "fusefs/inodes.h"
#include "fusefs/options.h"

namespace chainfs::fusefs {

class NodeAttributes {
 public:
  // `options` must outlive this. Whatever is no disk has the time of construction.
  explicit NodeAttributes(const Options& options);

  // Notes the mode in Node::shown_mode, for a disk.
  struct stat StatOf(Node& node) const;
  mode_t ModeOf(const Node& node) const;  // with the type
  // As the kernel decides it.
  bool LetsWrite(const Node& node, const control::Caller& caller) const;
  // The most that chmod may give to a disk, bits of 0666 (disk_mode.h).
  mode_t PermittedModeOf(const Node& node) const;

 private:
  mode_t ModeOfDisk(const Node& node) const;

  const Options& options_;
  const uid_t owner_uid_;
  const gid_t owner_gid_;
  const uid_t daemon_uid_;
  const timespec start_;
};

}  // namespace chainfs::fusefs
