// SPDX-License-Identifier: Apache-2.0
//
// StreamWork: a stream as the scheduler sees it. StreamCopier copies; this is the rest: the locks
// on the layer that is filled, the durable record, and the end.
//
// Crash ordering of the end (Settle, Pivot, Release):
//   1. Flush of top: every copied cluster, its metadata included, is durable. Until here the old
//      header is right, because copies change nothing that is visible.
//   2. The record says phase=pivot.
//      The layers that are left out are marked, so that no later daemon lets them be written.
//   3. SetBacking: one sector of top's header, durable on return. The old and the new name show the
//      same contents, so a crash on either side is harmless.
//   4. The shorter list of layers is published. With delete=, what nobody needs is removed.
//   5. The record goes. Only then is the job said to be completed.
// A crash before 5 leaves the record; the next daemon walks top again, finds all allocated, and
// does the end again, or finds the header changed and only removes the record.
//
// Growth: the disk may grow meanwhile. What top gains must not let base shine through where a layer
// between is shorter, so the new range is processed before and again after the pivot.
//
// Threads: as ChunkWork. mu_ orders writers of the record and is held across that I/O.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/cursor_source.h"
#include "jobs/engine/job_record.h"
#include "jobs/stream/stream_copier.h"
#include "jobs/stream/stream_plan.h"

namespace chainfs::jobs {

class StreamWork final : public ChunkWork {
 public:
  // The catalog outlives the work. The record's fields are those of the request.
  // `taken_up`: the record is there already.
  StreamWork(Catalog& catalog, DiskPtr disk, StreamPlan plan, JobRecord record, bool taken_up);

  // Takes the locks, makes sure that the end will be possible, and writes the record. When it fails
  // nothing is held and no record was written by it. kExists: another job's record has that name.
  Status Prepare() EXCLUDES(mu_);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return cluster_size_; }
  uint64_t chunk_size() const override;
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Settle() override;
  Status Pivot() override;
  LeftOutLayers LeftOut() override EXCLUDES(mu_);
  void Release() override EXCLUDES(mu_);
  void SaveParameters(const JobParameters& parameters) override EXCLUDES(mu_);

 private:
  Result<std::optional<BackingReference>> NewBacking() const;
  Status CheckTop() const;
  // Processes what top has gained since `known`, which becomes its size; whether there was any.
  Result<bool> CoverGrowth(uint64_t& known);
  void Unlock();
  Status WriteRecord() REQUIRES(mu_);
  // Publishes the shorter list and announces it for every disk that it changed.

  Catalog& catalog_;
  const DiskPtr disk_;
  const StreamPlan plan_;
  WritableImage& top_;
  const uint64_t cluster_size_;
  const uint64_t length_;  // of what is walked, from 0
  CursorSource source_;
  std::optional<StreamCopier> copier_;  // unless there is nothing to do

  Mutex mu_;
  const bool taken_up_;
  JobRecord record_ GUARDED_BY(mu_);
  bool recorded_ GUARDED_BY(mu_) = false;
  std::optional<LayerLease> lease_;  // Prepare and Release only
};

// What a stream would copy, by looking at maps only.
class StreamEstimate final : public ChunkWork {
 public:
  // `left_out`: what the stream would leave behind.
  StreamEstimate(DiskPtr disk, StreamPlan plan, LeftOutLayers left_out);

  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return plan_.top->image->cluster_size(); }
  uint64_t chunk_size() const override;
  bool estimates() const override { return true; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  LeftOutLayers LeftOut() override { return left_out_; }
  ChunkResult Process(uint64_t offset, uint64_t length) override;

 private:
  const DiskPtr disk_;
  const StreamPlan plan_;
  const LeftOutLayers left_out_;
  CursorSource source_;
  std::optional<StreamCopier> copier_;
};

}  // namespace chainfs::jobs
