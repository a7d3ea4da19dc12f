// SPDX-License-Identifier: Apache-2.0
//
// TargetImages: images that jobs fill and that belong to no chain in view (target_image.h).
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include "blocklayer/catalog/backing_names.h"
#include "blocklayer/catalog/layer_needs.h"
#include "blocklayer/catalog/left_out_marks.h"
#include "blocklayer/catalog/scanner.h"
#include "blocklayer/catalog/snapshot_target.h"
#include "blocklayer/catalog/target_image.h"

namespace chainfs {

class TargetImages {
 public:
  // The references outlive this, and so does what `openers` refers to. `read_only`: of the mount.
  TargetImages(Roots& roots, LayerPool& pool, ChainSet& chains, LeftOutMarks& marks,
               LayerNeeds& needs, SnapshotTarget& target, BackingNames& names, Scanner& scanner,
               ChainOpeners openers, bool read_only)
      : roots_(roots),
        pool_(pool),
        chains_(chains),
        marks_(marks),
        needs_(needs),
        target_(target),
        names_(names),
        scanner_(scanner),
        openers_(openers),
        read_only_(read_only) {}

  // The image and what it is built on. As ChainMoves::OpenTarget.
  Result<Layers> Open(const DiskPtr& disk, const TargetRequest& request);
  // Once for each image that was opened.
  Status GiveBack(const LayerPtr& image, TargetImage::End end);

 private:
  // Makes the file that is asked for.
  Result<FileId> Make(const CatalogEntry& entry, const FileLocation& location,
                      const TargetRequest& request);
  // Durable: it is not shown.
  Status Mark(const CatalogEntry& entry, const FileLocation& location, const FileId& id,
              const std::string& job);
  // kBusy while anybody uses the file.
  Status CheckFree(const CatalogEntry& entry, const LayerFile& file, const std::string& job);
  Result<Layers> OpenMarked(const CatalogEntry& entry, const WalkedChain& walked,
                            ChainOpener& opener, const std::string& job);

  Roots& roots_;
  LayerPool& pool_;
  ChainSet& chains_;
  LeftOutMarks& marks_;
  LayerNeeds& needs_;
  SnapshotTarget& target_;
  BackingNames& names_;
  Scanner& scanner_;
  const ChainOpeners openers_;
  const bool read_only_;
};

}  // namespace chainfs
