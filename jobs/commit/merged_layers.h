// SPDX-License-Identifier: Apache-2.0
//
// MergedLayers: what becomes of the layers that a commit has merged, once no chain leads through
// them any more.
//
// Threads: one at a time.
#pragma once

#include "blocklayer/catalog/catalog.h"

namespace chainfs::jobs {

// What somebody asked for. Only layers that nobody needs any more are touched.
enum class MergedFate : uint8_t {
  kKeep,
  kEmpty,            // they stay, and hold nothing of their own
  kRemoveInSources,  // removed where they lie beneath the source directories
  kRemoveAnywhere,   // removed (root's word)
};

struct CommitChoices {
  MergedFate fate = MergedFate::kKeep;
  bool reclaim = false;  // space of merged layers is given back while the job goes on
};

class MergedLayers {
 public:
  // `layers`: top first. The catalog outlives this.
  MergedLayers(Catalog& catalog, Layers layers) : catalog_(catalog), layers_(std::move(layers)) {}

  // After the header of `above` has left them out.
  LeftOutLayers Meet(MergedFate fate, const Layer& above);
  // Empties those whose paths `result` calls unneeded; what went wrong becomes its problem.
  void Empty(LeftOutLayers& result);

 private:
  Status EmptyOne(const LayerPtr& layer);

  Catalog& catalog_;
  const Layers layers_;
};

}  // namespace chainfs::jobs
