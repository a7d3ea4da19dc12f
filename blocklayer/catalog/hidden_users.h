// SPDX-License-Identifier: Apache-2.0
//
// HiddenUsers: what overlays that are not shown (hidden_overlays.h) keep from being written, and
// what people should know of them.
//
// Threads: all methods need CatalogParts::mu. Those that take long let others in.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/hidden_overlays.h"
#include "blocklayer/catalog/layer_users.h"
#include "blocklayer/catalog/scan_pauses.h"

namespace chainfs {

class HiddenUsers {
 public:
  using Around = std::vector<HiddenOverlays::Overlay>;

  // The references outlive this.
  HiddenUsers(Sources& sources, ChainSet& chains, ScanPauses& pauses, ChainOpeners openers)
      : sources_(sources), chains_(chains), pauses_(pauses), openers_(openers) {}

  // Looks for such overlays; whether nothing new was left for the next scan.
  bool Scan();
  // What those found keep from being written, now that the entries are known.
  void Update();
  // Every overlay in the source directories and in those of `layers`, in view or not, before a
  // layer is removed.
  Result<Around> FindAround(const Layers& layers);

  // By what they are built on.
  const LayerUsers& users() const { return users_; }
  // Of those who are built directly on each file, and are no part of a chain in view.
  const std::map<FileId, std::string>& notes() const { return notes_; }
  const std::map<std::string, HiddenOverlays::Overlay>& overlays() const {
    return overlays_.overlays();
  }
  // Files that are remembered, for tests.
  size_t remembered() const { return overlays_.remembered(); }

 private:
  Sources& sources_;
  ChainSet& chains_;
  ScanPauses& pauses_;
  const ChainOpeners openers_;
  HiddenOverlays overlays_;
  LayerUsers users_;
  std::map<FileId, std::string> notes_;
};

}  // namespace chainfs
