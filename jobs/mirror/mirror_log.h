// SPDX-License-Identifier: Apache-2.0
//
// The write-intent log of one mirror from daemon to daemon: when what it says may be believed.
//
// A daemon may end at any moment, so the log of a running mirror says that its marks count. Whoever
// finds it *checks it out*: it says then that all may differ, until the job that is taken up hangs
// in the disk again. If that never happens, because the target is missing or the next daemon is
// another's, guests write what no mark tells of, and the copy begins from zero one day.
//
// Threads: none; one job at a time has a log.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "jobs/mirror/intent_log.h"

namespace chainfs::jobs {

// What the log of the job said; nothing when there is none, or none that makes sense. Durable on
// return.
Result<std::optional<IntentHeader>> CheckOutLog(RecordStore& store, const Disk& disk,
                                                std::string_view job);
// In place of whatever there is. The store outlives the log, and the disk its last use.
Result<std::shared_ptr<IntentLog>> MakeLog(RecordStore& store, const Disk& disk,
                                           std::string_view job, const IntentHeader& header,
                                           IntentLog::Bits bits);
// The one that was checked out.
Result<std::shared_ptr<IntentLog>> ReopenLog(RecordStore& store, const Disk& disk,
                                             std::string_view job, IntentLog::Bits bits);
// Fine when there is none.
Status RemoveLog(RecordStore& store, const Disk& disk, std::string_view job);

}  // namespace chainfs::jobs
