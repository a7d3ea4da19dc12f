// SPDX-License-Identifier: Apache-2.0
//
// RangeCopier: copies ranges of a source into a sink: what the selection names and the sink takes.
// Data is shared by the kernel where it can, and otherwise read and written; of what is read, whole
// clusters of zeros become zeros.
//
// Trust: what the sink says that it takes and what is mapped are hints, as the sink's and the
// source's headers say. With a source that guests write, a range may come out in parts; who uses
// one copies it again.
//
// Threads: all methods, any thread, also at once for different ranges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "blocklayer/base/sync.h"
#include "jobs/copy/copy_sink.h"
#include "jobs/copy/copy_source.h"
#include "jobs/copy/piece_cutter.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

// A chunk for those who copy by it: a host that shares data takes about as long for one MiB as for
// four, if they lie together. Where data is copied, the queue of chunks makes them smaller.
constexpr uint64_t kLargestCopy = 4 << 20;

class RangeCopier {
 public:
  // Both outlive the copier.
  RangeCopier(const CopySource& source, CopySink& sink, CopySelection selection);

  // Both ends at clusters of the sink, or at its end. Returns the bytes copied, zeros not counted.
  ChunkResult Process(uint64_t offset, uint64_t length);
  // What Process would return, without copying: zeros in data are not looked for.
  ChunkResult Estimate(uint64_t offset, uint64_t length);

 private:
  // Calls `act` on every piece that needs something.
  template <typename Act>
  ChunkResult ForEachPiece(uint64_t begin, uint64_t end, Act act);
  bool MayShare(const CopySource::View& view, const CopyPiece& piece) const EXCLUDES(mu_);
  // What is not worth sharing is copied, together with its neighbours.
  std::vector<CopyPiece> WorthSharing(const CopySource::View& view,
                                      const std::vector<CopyPiece>& pieces) const;

  ChunkResult Perform(const CopySource::View& view, const CopyPiece& piece);
  ChunkResult Share(const CopySource::View& view, const CopyPiece& piece) EXCLUDES(mu_);
  ChunkResult Copy(const CopySource::View& view, uint64_t begin, uint64_t end);
  Status CopyLoaded(uint64_t begin, std::span<const std::byte> data, uint64_t& copied);

  const CopySource& source_;
  CopySink& sink_;
  const PieceCutter cutter_;
  mutable SharedMutex mu_;  // a leaf
  // Were seen to refuse to share. Only compared; another file at the same address is merely copied.
  std::set<const File*> cannot_share_ GUARDED_BY(mu_);
};

}  // namespace chainfs::jobs
