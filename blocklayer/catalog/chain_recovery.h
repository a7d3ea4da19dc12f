// SPDX-License-Identifier: Apache-2.0
//
// ChainRecovery: what a snapshot left that was interrupted between its first record and its
// second. The overlay that it was making holds nothing, and the old active layer is still the
// active one. The overlay is removed, but only if it still is empty and built on that layer, or has
// no header yet, and only while we hold the locks for writing that layer, so that no other daemon
// can be in the midst of this snapshot. A revert that was interrupted is ended in the same way, and
// so is what follows once a chain went on with a layer below.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <optional>
#include <vector>

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/dropped_layers.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {

class ChainRecovery {
 public:
  // The references outlive this.
  ChainRecovery(Roots& roots, Sources& sources, ChainSet& chains, DroppedLayers& dropped,
                BlockContext& context, const FormatRegistry& formats)
      : roots_(roots),
        sources_(sources),
        chains_(chains),
        dropped_(dropped),
        context_(context),
        formats_(formats) {}

  // Ends those whose chains are open for writing here.
  void Finish(const std::vector<InterruptedChange>& interrupted);
  // What decided about several chains, and was left when all of them said so already; and records
  // that were never finished. No matter who has these chains, for a group is decided only after
  // they have named it.
  void ForgetRemains();

 private:
  Status FinishOne(const CatalogEntry& entry, const InterruptedChange& snapshot);
  // The file, if it is what a snapshot of `entry` made and nobody has used.
  Result<std::optional<FileId>> UnusedOverlay(const CatalogEntry& entry,
                                              const FileLocation& location,
                                              const ChainRecord& record);

  Roots& roots_;
  Sources& sources_;
  ChainSet& chains_;
  DroppedLayers& dropped_;
  BlockContext& context_;
  const FormatRegistry& formats_;
};

}  // namespace chainfs
