// SPDX-License-Identifier: Apache-2.0
//
// Commands about jobs that are there: job-* and their older twins block-job-*, and the lists.
#pragma once

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

Answer QueryJobs(Client& client, Parameters& parameters);
Answer QueryBlockJobs(Client& client, Parameters& parameters);

Answer JobPause(Client& client, Parameters& parameters);
Answer JobResume(Client& client, Parameters& parameters);
Answer JobCancel(Client& client, Parameters& parameters);
Answer JobComplete(Client& client, Parameters& parameters);
Answer JobDismiss(Client& client, Parameters& parameters);
Answer JobFinalize(Client& client, Parameters& parameters);

Answer BlockJobPause(Client& client, Parameters& parameters);
Answer BlockJobResume(Client& client, Parameters& parameters);
Answer BlockJobCancel(Client& client, Parameters& parameters);
Answer BlockJobComplete(Client& client, Parameters& parameters);
Answer BlockJobDismiss(Client& client, Parameters& parameters);
Answer BlockJobFinalize(Client& client, Parameters& parameters);
Answer BlockJobSetSpeed(Client& client, Parameters& parameters);

// Jobs as QEMU would list them, oldest first.
std::vector<jobs::JobInfo> ListedJobs(Client& client);

}  // namespace chainfs::qmp
