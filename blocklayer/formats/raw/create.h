// SPDX-License-Identifier: Apache-2.0
//
// Creating a raw image: a sparse file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/io/directory.h"

namespace chainfs::raw {

// Creates `name` in `directory`, `size` bytes that read as zeros, durable (file and directory) on
// return; on failure nothing of that name is left. kExists, kNoSpace, kIo... Returns the file
// itself.
Result<std::unique_ptr<File>> CreateRaw(Directory& directory, const std::string& name,
                                        uint64_t size, mode_t permissions);

}  // namespace chainfs::raw
