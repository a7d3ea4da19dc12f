// SPDX-License-Identifier: Apache-2.0
//
// JobTypes: the kinds of job that chainfs has. A new kind is a folder beside this file and one row
// here (and a row in the table of verbs for its command).
#pragma once

#include <span>

#include "jobs/engine/job_type.h"

namespace chainfs::jobs {

std::span<const JobType> JobTypes();

}  // namespace chainfs::jobs
