// SPDX-License-Identifier: Apache-2.0
//
// CatalogEntry: an image in view, with its disk or with the reason why it has none.
//
// Terms: an entry is *frozen* when its disk is read-only and its file carries the locks of a
// backing layer.
//
// Threads: CatalogParts::mu guards every entry.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/backoff.h"
#include "blocklayer/catalog/chain_opener.h"
#include "blocklayer/catalog/sources.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

// What the reasons for a frozen entry begin with.
inline constexpr std::string_view kReadOnlyPrefix = "read-only: ";
inline constexpr std::string_view kMountReadOnly = "the mount is read-only";
// Why a disk is read-only although nothing that is shown is built on it.
inline constexpr std::string_view kStillBacked =
    "read-only: a job, or a read that began earlier, still reads what was built on it; it can be "
    "written when that has ended";

struct CatalogEntry {
  Candidate candidate;
  std::string name;
  std::optional<FileStat> stat;  // of its file, when last looked at
  WalkedChain walked;            // until it has a disk
  DiskPtr disk;                  // null: `error` says why, or it was not tried yet
  std::optional<Error> error;
  bool failed_to_open = false;      // the error came after the walk
  bool shut_out = false;            // the error is a job's mark: nobody expects a disk
  std::vector<FileStat> opened_as;  // the files of the chain when that happened
  Backoff opening;                  // when to try again, if the reason may pass
  Backoff thawing;                  // the same of making it writable
  std::optional<FileId> being_checked;
  std::optional<ImageHolder> held_by;  // the error is kBusy, and this is who holds its files
  bool remembered = false;             // its name; also when that could not be done
  bool frozen = false;
  std::string frozen_because;  // for people; begins with kReadOnlyPrefix unless still written
  std::string hint;            // for people; constant once it has a disk
  // What it is built on, or may be, beside the layers of its disk or what was walked.
  std::vector<FileId> also_below;
  std::vector<FileId> kept_below;  // what its record names, as long as it has no disk

  FileId id() const { return stat ? stat->id : FileId{}; }
  bool IsTriedAgain() const { return error && IsPassing(*error) && opening.next(); }
};

using CatalogEntries = std::map<std::string, CatalogEntry>;  // by path

}  // namespace chainfs
