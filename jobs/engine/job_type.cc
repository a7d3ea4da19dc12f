// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_type.h"

#include <algorithm>

namespace chainfs::jobs {

const JobType* FindJobType(std::span<const JobType> types, std::string_view name) {
  const auto found = std::ranges::find(types, name, &JobType::name);
  return found == types.end() ? nullptr : &*found;
}

}  // namespace chainfs::jobs
