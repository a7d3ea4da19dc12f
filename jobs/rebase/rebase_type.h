// SPDX-License-Identifier: Apache-2.0
//
// The row of the kind `rebase`.
#pragma once

#include "jobs/engine/job_type.h"

namespace chainfs::jobs {

JobType RebaseType();

}  // namespace chainfs::jobs
