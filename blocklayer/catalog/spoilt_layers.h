// SPDX-License-Identifier: Apache-2.0
//
// SpoiltLayers: the marks of layers that commits change, or have changed without finishing
// (MarkKind::kChanging): what a commit that begins marks, and which mark its good end takes away.
//
// Each mark names the layer from which on upwards everything is whole. Several commits may have
// written to one chain and not finished, each from a top of its own. What one merges is then no
// more whole than what it took it from: what another has spoilt from higher up stays marked so
// through any number of good ends, until one copies from that height.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <string>

#include "blocklayer/catalog/left_out_marks.h"

namespace chainfs {

class SpoiltLayers {
 public:
  // `marks` outlives this.
  explicit SpoiltLayers(LeftOutMarks& marks) : marks_(marks) {}

  // Marks `layers` of `chain` (top to base), which lie below its layer `whole` and are about to
  // show a mixture because `job` merges what is there; all of them or none. What was marked before.
  Result<LeftOutMarks::Before> Mark(size_t source, const Layers& chain, const Layers& layers,
                                    const Layer& whole, const std::string& job);
  // `layer` has durably got all from `whole` down to it: takes its mark away, unless that says that
  // only what lies above `whole` is whole.
  Status EndedWell(const Layers& chain, const Layer& layer, const Layer& whole);

 private:
  LeftOutMarks& marks_;
};

}  // namespace chainfs
