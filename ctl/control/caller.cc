// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/caller.h"

#include <algorithm>

namespace chainfs::control {

bool Caller::HasGroup(gid_t group) const {
  if (gid == group) return true;
  if (!groups) return false;
  const std::vector<gid_t> further = groups();
  return std::ranges::find(further, group) != further.end();
}

bool CommandAccess::Permits(const Caller& caller) const {
  if (caller.IsRoot() || caller.uid == daemon_uid_) return true;
  return control_gid_ && caller.HasGroup(*control_gid_);
}

}  // namespace chainfs::control
