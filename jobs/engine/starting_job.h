// SPDX-License-Identifier: Apache-2.0
//
// StartingJob: a job between its record and its acceptance.
//
// Threads: none.
#pragma once

#include <memory>
#include <optional>

#include "blocklayer/catalog/chain_moves.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/job_run.h"
#include "jobs/engine/record_file.h"
#include "jobs/engine/reservation.h"

namespace chainfs::jobs {

struct StartingJob {
  DiskPtr disk;
  Reservation reservation;
  JobSettings settings;
  std::unique_ptr<RecordFile> record;
  std::unique_ptr<ChunkWork> work;      // prepared
  std::optional<FreezeRequest> freeze;  // what its Begin is to hold
};

}  // namespace chainfs::jobs
