// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/job_id.h"

#include <fmt/core.h>
#include <unistd.h>

namespace chainfs::chainctl {

std::string NewJobId(std::string_view type) {
  static unsigned counter = 0;
  return fmt::format("{}-{}-{}", type, getpid(), ++counter);
}

}  // namespace chainfs::chainctl
