// SPDX-License-Identifier: Apache-2.0
//
// The row of the type `mirror`.
#pragma once

#include "jobs/engine/job_type.h"

namespace chainfs::jobs {

JobType MirrorType();

}  // namespace chainfs::jobs
