// SPDX-License-Identifier: Apache-2.0
//
// The target of a mirror as an open image: made, found again, or taken as it is.
//
// Threads: any; waits for the turn of a scan.
#pragma once

#include <cstdint>
#include <string>

#include "blocklayer/catalog/chain_moves.h"
#include "jobs/mirror/mirror_plan.h"

namespace chainfs::jobs {

// Makes it, on what the plan says. kExists when there is something of its name that the job has not
// made.
Result<TargetImagePtr> MakeTarget(Catalog& catalog, const MirrorPlan& plan, const std::string& job);
// One that is there. kStale when it is not the file that `wanted` tells (inode 0: any will do);
// kInvalidArgument when it does not fit the disk.
Result<TargetImagePtr> OpenTarget(Catalog& catalog, const MirrorPlan& plan, const std::string& job,
                                  const IntentHeader& wanted);
// Puts in which file it is.
void NoteTarget(const TargetImage& target, IntentHeader& header);

}  // namespace chainfs::jobs
