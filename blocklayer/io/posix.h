// SPDX-License-Identifier: Apache-2.0
//
// The real host behind File and Directory.
#pragma once

#include <memory>
#include <string>

#include "blocklayer/io/directory.h"

namespace chainfs {

// `path` must name a directory; it is opened as the process sees it now (symbolic links followed)
// and kept open, so later renames of it do not matter. `served`: as in NameFence;
// kInvalidArgument.
Result<std::unique_ptr<Directory>> OpenPosixDirectory(const std::string& path, dev_t served = 0);

}  // namespace chainfs
