// SPDX-License-Identifier: Apache-2.0
//
// BackupType: the row of `backup`: its keys and its plan.
#pragma once

#include "jobs/engine/job_type.h"

namespace chainfs::jobs {

JobType BackupType();

}  // namespace chainfs::jobs
