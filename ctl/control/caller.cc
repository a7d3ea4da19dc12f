// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/caller.h"

#include <algorithm>

namespace chainfs::control {

bool CommandAccess::Permits(const Caller& caller) const {
  if (caller.IsRoot() || caller.uid == daemon_uid_) return true;
  if (!control_gid_) return false;
  if (caller.gid == *control_gid_) return true;
  if (!caller.groups) return false;
  const std::vector<gid_t> groups = caller.groups();
  return std::ranges::find(groups, *control_gid_) != groups.end();
}

}  // namespace chainfs::control
