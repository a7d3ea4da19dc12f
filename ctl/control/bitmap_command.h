// SPDX-License-Identifier: Apache-2.0
//
// BitmapCommand: what `bitmap` does: makes, removes or changes a persistent bitmap of the active
// layer of a disk.
//
// Threads: plain function, any thread.
#pragma once

#include "blocklayer/chain/disk.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

// No write is under way meanwhile, so that a bitmap holds exactly what is written afterwards.
// kInvalidArgument, kReadOnly, and as JobManager::ReserveDisk and WritableImage::ChangeBitmap.
Status BitmapCommand(jobs::JobManager& jobs, const verbs::Arguments& arguments, Disk& disk);

}  // namespace chainfs::control
