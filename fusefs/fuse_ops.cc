// SPDX-License-Identifier: Apache-2.0
#include "fusefs/fuse_ops.h"

#include <spdlog/spdlog.h>

namespace chainfs::fusefs {

void LogEscaped(const char* operation, const char* what) {
  spdlog::error("internal error in {}: {}", operation, what);
}

}  // namespace chainfs::fusefs
