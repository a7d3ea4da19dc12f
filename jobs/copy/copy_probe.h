// SPDX-License-Identifier: Apache-2.0
//
// CopyProbe: what a copy would move, and how long that would take: the figures of a dry run. It
// counts by maps alone, and copies some of what it counts to a file without a name where the target
// is or would be, by the same means and as many at once as the job would. What that took is the
// measure.
//
// It writes at most 64 MiB, and nothing where there is little room, or the host has no files
// without a name.
//
// Threads: Estimate from several at once; Finish once, after them; Facts any.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/catalog.h"
#include "jobs/copy/copy_sink.h"
#include "jobs/copy/copy_source.h"
#include "jobs/copy/piece_cutter.h"
#include "jobs/copy/range_copier.h"
#include "jobs/copy/scratch_sink.h"
#include "jobs/engine/job_facts.h"

namespace chainfs::jobs {

// The directory of `file`, where a probe may write; nothing on a mount that writes nothing, and
// where directories are not the host's.
std::optional<std::string> ProbeDirectory(const Catalog& catalog, const std::string& file);

class CopyProbe {
 public:
  // `source` and `sink` outlive this. `directory`: of the host, where the target is or would be;
  // nothing: nothing is written and no time is told. `replaced`: what is written over, which
  // outlives this, too, and where it has data needs no space; null: the target has nothing there.
  CopyProbe(const CopySource& source, CopySink& sink, CopySelection selection,
            const std::optional<std::string>& directory, Image* replaced = nullptr);

  // As RangeCopier::Estimate.
  ChunkResult Estimate(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  // The end of the counting: what was written is made durable, because a job does that, too.
  void Finish() EXCLUDES(mu_);
  // "space-needed": bytes, with the tables of qcow2, where nothing can be shared;
  // "estimated-milliseconds", once finished.
  JobFacts Facts() const EXCLUDES(mu_);

 private:
  using Clock = std::chrono::steady_clock;

  // Of the range, how much the target may gain by `copied` bytes of it.
  Result<uint64_t> Gained(uint64_t offset, uint64_t length, uint64_t copied) const;
  void Sample(uint64_t offset, uint64_t length) EXCLUDES(mu_);
  bool BeginSample() EXCLUDES(mu_);
  void EndSample(const ChunkResult& copied) EXCLUDES(mu_);

  ScratchSink scratch_;
  RangeCopier copier_;
  Image* const replaced_;
  mutable Mutex mu_;                      // a leaf
  uint64_t bytes_ GUARDED_BY(mu_) = 0;    // that would be copied
  uint64_t gained_ GUARDED_BY(mu_) = 0;   // of these, bytes that need space
  uint64_t sampled_ GUARDED_BY(mu_) = 0;  // of these, bytes
  uint64_t under_way_ GUARDED_BY(mu_) = 0;
  Clock::time_point since_ GUARDED_BY(mu_);
  Clock::duration busy_ GUARDED_BY(mu_) = {};  // at least one sample was under way
  bool failed_ GUARDED_BY(mu_) = false;
  bool finished_ GUARDED_BY(mu_) = false;
};

}  // namespace chainfs::jobs
