// SPDX-License-Identifier: Apache-2.0
//
// SnapshotTarget: where a new image goes: the overlay of a snapshot where the user says, or beside
// the active layer under the first number that is free; the target of a job where the user says.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/hidden_users.h"

namespace chainfs {

class SnapshotTarget {
 public:
  // The references outlive this.
  SnapshotTarget(Roots& roots, Sources& sources, ChainSet& chains, HiddenUsers& hidden)
      : roots_(roots), sources_(sources), chains_(chains), hidden_(hidden) {}

  // kExists when there is something of that name, or somebody names it; kInvalidArgument, kAccess
  // for a name that may not be.
  Result<FileLocation> Choose(const CatalogEntry& entry, const SnapshotRequest& request);
  // The place of a new image called `name`, absolute or from the directory of the active layer.
  // `format`: nothing for a file that is no image. kInvalidArgument, kAccess for a name that may
  // not be.
  Result<FileLocation> Named(const CatalogEntry& entry, const std::string& name,
                             std::optional<ImageFormat> format, bool anywhere);
  // kExists when there is something of that name, or somebody names it.
  Status CheckUnused(const FileLocation& location);

 private:
  // kExists when anything in view, a ghost, a record or the header of a broken chain names
  // `location`.
  Status CheckNamedByNobody(const FileLocation& location, const std::vector<ChainRecord>& records);

  Roots& roots_;
  Sources& sources_;
  ChainSet& chains_;
  HiddenUsers& hidden_;
};

}  // namespace chainfs
