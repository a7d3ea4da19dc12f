// SPDX-License-Identifier: Apache-2.0
//
// ChainLine: the chain of a disk in one line, base first: "[base.qcow2] <- [mid.qcow2] <- [vm1]".
#pragma once

#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/chainctl/client.h"

namespace chainfs::chainctl {

// `layers`: paths, active layer first. Of a long chain only both ends are named.
std::string ChainLine(const std::vector<std::string>& layers);
// The paths of a disk, as the daemon has them now.
Result<std::vector<std::string>> ReadLayers(const DiskPath& disk);

}  // namespace chainfs::chainctl
