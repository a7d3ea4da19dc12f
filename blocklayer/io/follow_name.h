// SPDX-License-Identifier: Apache-2.0
//
// Follows a name that a stranger chose, as the kernel would, to learn which file it leads to. No
// file is opened, and nothing that could be made to wait is touched: the walk does not enter a
// network or FUSE file system, nor /proc and its like, nor does it have anything mounted. Where it
// may go everywhere, it only keeps away from what this process itself would have to answer for.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"
#include "blocklayer/io/file.h"

namespace chainfs {

// What is wrong with a place where this process would wait for itself.
inline constexpr std::string_view kServedItself =
    "lies on the mount of this chainfs itself, which would wait for itself; choose another place";

// From the directory `from`, or from the root. `devices` (st_dev) may be entered whatever they are.
// kNotFound; kAccess where the walk may not go on; kInvalidArgument for what is no name.
Result<FileId> FollowName(int from, const std::string& name, const std::set<dev_t>& devices);

// The same, for a name of a directory: it, open by O_PATH.
Result<UniqueFd> FollowToDirectory(int from, const std::string& name,
                                   const std::set<dev_t>& devices);

// A directory that somebody chose who may go anywhere: as the kernel walks it, onto any mount but
// one of the device `served`, which is left untouched: kInvalidArgument.
Result<UniqueFd> WalkToDirectory(int from, const std::string& name, dev_t served);

}  // namespace chainfs
