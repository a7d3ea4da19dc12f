// SPDX-License-Identifier: Apache-2.0
//
// The names of jobs, as QEMU has them.
#pragma once

#include <string_view>

#include "blocklayer/base/result.h"

namespace chainfs::verbs {

// [A-Za-z][A-Za-z0-9._-]*, at most 128 bytes.
bool IsLegalJobId(std::string_view id);
// kInvalidArgument, saying what is legal. The text holds `id` as it is.
Status CheckJobId(std::string_view id);

}  // namespace chainfs::verbs
