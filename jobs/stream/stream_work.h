// SPDX-License-Identifier: Apache-2.0
//
// StreamWork: a stream as the scheduler sees it. StreamCopier copies; this is the rest: the locks
// on the layer that is filled, and the end.
//
// Crash ordering of the end (Settle, Pivot, Release; the record is the engine's):
//   1. Flush of top: every copied cluster, its metadata included, is durable. Until here the old
//      header is right, because copies change nothing that is visible.
//   2. The record says that the phase is "pivot". What the disk has gained meanwhile is processed
//      and flushed. The layers that are left out are marked, so that no later daemon lets them be
//      written.
//   3. SetBacking: one sector of top's header, durable on return. The old and the new name show the
//      same contents, so a crash on either side is harmless.
//   4. The shorter list of layers is published. With delete=yes, what nobody needs is removed.
//   5. The record goes. Only then is the job said to be completed.
// A crash before 5 leaves the record; the next daemon walks top again, finds all allocated, and
// does the end again, or finds the header changed and only removes the record.
//
// Growth: the disk may grow meanwhile. What top gains must not let base shine through where a layer
// between is shorter: a disk that grows hides the longest of the layers below it, and base is one
// of them. What it gains before the pivot is processed, too.
//
// Threads: as ChunkWork.
#pragma once

#include <memory>
#include <optional>

#include "blocklayer/catalog/catalog.h"
#include "jobs/copy/compress_key.h"
#include "jobs/engine/chunk_work.h"
#include "jobs/engine/hot_source.h"
#include "jobs/stream/stream_copier.h"
#include "jobs/stream/stream_plan.h"

namespace chainfs::jobs {

// What becomes of the layers that a stream leaves out and that nobody needs any more.
enum class RemoveLayers : uint8_t {
  kNo,
  kInSources,  // removed where they lie beneath the source directories
  kAnywhere,   // removed (root's word)
};

class StreamWork final : public ChunkWork {
 public:
  // The catalog outlives the work.
  StreamWork(Catalog& catalog, DiskPtr disk, StreamPlan plan, RemoveLayers remove);
  ~StreamWork() override { StopListening(); }

  // Takes the locks and makes sure that the end will be possible.
  Status Prepare() override;
  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return ChunkUnit(cluster_size_, plan_.compression); }
  uint64_t chunk_size() const override;
  JobFacts Facts() const override { return {{"read-first", source_.taken_early()}}; }
  bool UsersWait() const override { return disk_->load().UsersWait(DiskLoad::Clock::now()); }
  ChunkResult Process(uint64_t offset, uint64_t length) override;
  Status Settle() override;
  Status Pivot() override;
  LeftOutLayers LeftOut() override;
  void Release() override;

 private:
  Result<std::optional<BackingReference>> NewBacking() const;
  Status CheckTop() const;
  void StopListening() { disk_->read_taps().Remove(*reads_); }
  // Processes what top has gained since `known`, which becomes its size; whether there was any.
  Result<bool> CoverGrowth(uint64_t& known);

  Catalog& catalog_;
  const DiskPtr disk_;
  const StreamPlan plan_;
  const RemoveLayers remove_;
  WritableImage& top_;
  const uint64_t cluster_size_;
  const uint64_t length_;                    // of what is walked, from 0
  const std::shared_ptr<FirstReads> reads_;  // a tap of the disk from Prepare to Release
  HotSource source_;
  std::optional<StreamCopier> copier_;  // unless there is nothing to do
  std::optional<LayerLease> lease_;     // Prepare and Release only
};

}  // namespace chainfs::jobs
