// SPDX-License-Identifier: Apache-2.0
//
// ChunkWork: what a job does, apart from when: chunks of a source, then an end. JobRun calls it; it
// knows nothing of states, verbs or speed.
//
// Threads: Process from several at once, for different chunks. Prepare, Begin, Settle, Pivot,
// LeftOut, Undo and Release from one at a time, when no Process is under way. The constants: any,
// at any time. What is "quick" is called from any thread with the job's lock held, also while
// chunks are under way: no I/O, and nobody who might call back into jobs.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>

#include "blocklayer/base/result.h"
#include "blocklayer/catalog/catalog.h"
#include "ctl/verbs/arguments.h"
#include "jobs/engine/job_facts.h"
#include "jobs/engine/work_source.h"

namespace chainfs::jobs {

// Why a chunk failed, and whether in writing (else in reading): the event says which.
struct ChunkFailure {
  Error error;
  bool writing = false;
};
// Bytes that were copied: what a speed limit charges. Skipping and zeroing are free.
using ChunkResult = std::expected<uint64_t, ChunkFailure>;

// What a user may change while the job runs, and what must outlive the daemon.
struct JobParameters {
  uint64_t speed = 0;  // bytes per second; 0: no limit
  bool paused = false;
  uint64_t progress = 0;          // bytes; how far it was, as users were told
  verbs::Arguments changed = {};  // keys of its command that have another value by now
  bool operator==(const JobParameters&) const = default;
};

class ChunkWork {
 public:
  virtual ~ChunkWork() = default;

  // Where chunks come from; lives as long as the work.
  virtual WorkSource& source() = 0;
  virtual uint64_t unit() const = 0;  // chunks begin and end at multiples of it, or at the end
  virtual uint64_t chunk_size() const = 0;  // the most for one chunk; a multiple of unit()
  // Whether the work only counts what it would copy; its total is then what Process returned.
  virtual bool estimates() const { return false; }
  // Whether the job becomes `ready` once its source is empty, and goes on with what is added to it
  // until somebody completes it; else an empty source is its end. What is added once the end has
  // begun is for Pivot to see to.
  virtual bool gets_ready() const { return false; }

  // Whether those whom the work may keep waiting wait just now: it then goes on with one chunk in
  // flight. Quick.
  virtual bool UsersWait() const { return false; }
  // What users see of this kind of job besides. Quick.
  virtual JobFacts Facts() const { return {}; }

  // ---- Verbs that only the kind understands. Quick. What is accepted becomes part of the recorded
  // command, so it must be keys of the type; kInvalidArgument, and nothing is changed.
  // `complete`, of a job that is ready; it may come again until the end begins.
  virtual Status Complete(const verbs::Arguments& arguments);
  virtual Status Change(const verbs::Arguments& arguments);

  // Takes what the work needs and makes sure that its end will be possible. Before anything is
  // recorded or processed; when it fails, nothing is held.
  virtual Status Prepare() { return {}; }
  // Only for a job that starts together with others and whose plan says what Begin is to `freeze`:
  // whatever else of Begin may fail. Once the record is durable; when it fails, what it did itself
  // is undone, and Release follows. Then the point is held, and Begin comes, which finds it; or
  // Undo, for a type that undoes. When such a Begin fails, it undoes nothing: Release follows, and
  // later the job is taken up.
  virtual Status Arrange() { return {}; }
  // What must have happened when the command returns (the point in time of a backup is its start).
  // Once the record is durable, before the job is accepted; again when a record is taken up, so
  // what an earlier Begin did, or half of it, must be found and kept. When it fails, what it did
  // itself is undone, and Release follows.
  virtual Status Begin() { return {}; }
  // Doing a chunk again is harmless.
  virtual ChunkResult Process(uint64_t offset, uint64_t length) = 0;
  // Why the job must not end yet although nothing is left to do (somebody still reads what would
  // go). It is paused meanwhile, shows this as its error, and goes on by itself: the question is
  // asked again and again. Quick. Saying nothing it may also give the source something more to do.
  virtual std::optional<Error> EndMustWait() const { return std::nullopt; }
  // Makes what was processed durable, so that the process may end here and be taken up again.
  virtual Status Settle() { return {}; }
  // The one step that cannot be taken back. Only after all chunks and Settle succeeded, and after
  // the record says that it begins.
  virtual Status Pivot() { return {}; }
  // Of a type that `undoes`: takes back what Begin did, because the job was cancelled, or has
  // failed before its pivot or in it. The record says so first, and from then on the job can only
  // be undone: no chunk comes any more, also when it is taken up (Prepare and Begin come then, as
  // always). May take long; kShutdown once `stop` says that the daemon ends. Whatever else fails is
  // shown, and it is tried again every few seconds, or by the next daemon.
  virtual Status Undo(const std::function<bool()>& /*stop*/) { return {}; }
  // What the work has to say of itself at its end: after Pivot succeeded, before Release.
  virtual LeftOutLayers LeftOut() { return {}; }
  // The job ends for good, whether well or not, or was not accepted after all: gives back what
  // Prepare took. Its record goes after that, unless it was to be taken up and is not yet.
  virtual void Release() {}
};

}  // namespace chainfs::jobs
