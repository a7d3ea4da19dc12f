// SPDX-License-Identifier: Apache-2.0
//
// JobType: a kind of background work as one row: its name, the keys of its command, and its plan. A
// plan turns the command into claims on layers, and says how the work is made once these are
// granted. The rows are in jobs/job_types.cc; the engine knows no kind by name.
//
// Threads: rows are constant. A plan is made on the caller's thread and may read the catalog; the
// functions of a plan are called once, on the same thread, with no lock held.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "blocklayer/catalog/chain_moves.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/layer_claims.h"

namespace chainfs::jobs {

// A command that starts a job, or that started one for an earlier daemon.
struct JobCommand {
  std::string type;
  DiskPtr disk;  // never null
  verbs::Arguments arguments = {};
  // Its giver may have files outside the sources written or removed (root).
  bool privileged = false;
  // The id of the job that a record is about, which is planned again: what is there already may be
  // its own. Empty for a new command.
  std::string taken_up = {};
  bool paused = false;   // it is accepted as if it had been paused at once
  bool to_undo = false;  // and only to be undone: what it was to make is not needed any more
};

struct JobPlan {
  LayerClaims claims;
  // The keys of the type with which the same would be planned again after a restart: what defaults
  // meant is written out, layers are named by their paths.
  verbs::Arguments command;
  // Something to look after before the job fails.
  std::optional<std::string> warning;
  // Other disks that the job is about: it is shown among their jobs, and nothing that wants to be
  // alone with one of them runs beside it.
  std::vector<std::string> other_disks = {};
  // The point in time of the disk that Begin is to hold, without the job's id: in a group somebody
  // else holds it then, together with those of other disks.
  std::optional<FreezeRequest> freeze = {};
  std::function<std::unique_ptr<ChunkWork>(const std::string& id)> work;
  // The dry run: work that `estimates`.
  std::function<std::unique_ptr<ChunkWork>()> estimate;
};

struct JobType {
  std::string_view name;  // also the verb's
  std::span<const verbs::Key> keys;
  // The catalog outlives every job. kNotFound (layer), kInvalidArgument.
  Result<JobPlan> (*plan)(Catalog& catalog, const JobCommand& command);
  // Its Begin changes what must be taken back before the record may go: ChunkWork::Undo.
  bool undoes = false;
  // The prefix of records that its jobs keep by their ids, besides their own. What has lost its job
  // (a daemon was killed between the two) is removed by the next daemon.
  std::string_view companions = {};
};

// Null: no type is called so.
const JobType* FindJobType(std::span<const JobType> types, std::string_view name);

}  // namespace chainfs::jobs
