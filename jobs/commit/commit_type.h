// SPDX-License-Identifier: Apache-2.0
//
// CommitType: the row of `commit`: its keys top, base, delete, and its plan.
#pragma once

#include "jobs/engine/job_type.h"

namespace chainfs::jobs {

JobType CommitType();

}  // namespace chainfs::jobs
