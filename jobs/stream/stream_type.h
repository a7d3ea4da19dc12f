// SPDX-License-Identifier: Apache-2.0
//
// StreamType: the row of `stream`: its keys base, top, delete, compress, and its plan.
#pragma once

#include "jobs/engine/job_type.h"

namespace chainfs::jobs {

JobType StreamType();

}  // namespace chainfs::jobs
