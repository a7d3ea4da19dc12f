// SPDX-License-Identifier: Apache-2.0
//
// The registry of status attributes: what can be read as user.chainfs.NAME, on what, and how its
// value is made. Values are made anew at each reading.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fusefs/mount_state.h"

namespace chainfs::fusefs {

inline constexpr std::string_view kAttributePrefix = "user.chainfs.";

// Whether `name` (without the prefix) is a status attribute of anything.
bool IsStatusName(std::string_view name);
// Nothing when `node` has no such attribute now.
std::optional<std::string> StatusValue(MountState& mount, Node& node, std::string_view name);
// Full names of what `node` has now.
std::vector<std::string> StatusNames(MountState& mount, Node& node);

}  // namespace chainfs::fusefs
