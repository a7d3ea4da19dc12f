// SPDX-License-Identifier: Apache-2.0
#include "jobs/job_types.h"

#include <array>

#include "jobs/backup/backup_type.h"
#include "jobs/commit/commit_type.h"
#include "jobs/mirror/mirror_type.h"
#include "jobs/rebase/rebase_type.h"
#include "jobs/stream/stream_type.h"

namespace chainfs::jobs {

std::span<const JobType> JobTypes() {
  static const std::array types = {
      RebaseType(), MirrorType(), StreamType(), CommitType(), BackupType(),
  };
  return types;
}

}  // namespace chainfs::jobs
