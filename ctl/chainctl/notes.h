// SPDX-License-Identifier: Apache-2.0
//
// What the daemon notes about images, in words for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "ctl/chainctl/client.h"

namespace chainfs::chainctl {

// The daemon's notes in the value of chains.json; where it names one user of a read-only base, all
// direct ones instead.
std::vector<std::string> NotesOf(const nlohmann::json& chains);
// Why a disk with this value of user.chainfs.info is read-only; empty when it is not, or nobody
// says.
std::string ReadOnlyReasonOf(const DiskPath& disk, const nlohmann::json& info);

}  // namespace chainfs::chainctl
