// SPDX-License-Identifier: Apache-2.0
//
// CommitSpaceWarning: whether a commit may run out of space, by what is known without reading a
// map: what the merged layers occupy, and what base lacks, bound what base gains.
#pragma once

#include <optional>
#include <string>

#include "jobs/commit/commit_plan.h"

namespace chainfs::jobs {

// A sentence with both figures when the file system of base has less free than base may gain;
// nothing when it has enough, or when the host cannot say. It is no more than a hint: where blocks
// can be shared, less is needed, and compressed clusters need more than they occupy.
std::optional<std::string> CommitSpaceWarning(const CommitPlan& plan);
// The same of figures in bytes.
std::optional<std::string> CommitSpaceWarning(const std::string& base, uint64_t needed,
                                              uint64_t free);

}  // namespace chainfs::jobs
