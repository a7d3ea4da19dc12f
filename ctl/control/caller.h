// SPDX-License-Identifier: Apache-2.0
//
// Who gives a command, and whether that one may.
//
// Threads: any; nothing changes after construction.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <vector>

namespace chainfs::control {

// As the transport knows it.
struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
  // The supplementary groups; asked only where they matter. Empty: nobody can tell.
  std::function<std::vector<gid_t>()> groups = {};

  // What it names may lie anywhere, not only beneath the sources.
  bool IsRoot() const { return uid == 0; }
  // As its own or as a supplementary one.
  bool HasGroup(gid_t group) const;
};

// Commands are for root, the daemon's user and the members of one group, if any.
class CommandAccess {
 public:
  CommandAccess(uid_t daemon_uid, std::optional<gid_t> control_gid)
      : daemon_uid_(daemon_uid), control_gid_(control_gid) {}

  bool Permits(const Caller& caller) const;

 private:
  const uid_t daemon_uid_;
  const std::optional<gid_t> control_gid_;
};

}  // namespace chainfs::control
