// SPDX-License-Identifier: Apache-2.0
//
// Scanner: from what lies in the sources to disks. The order matters: first every header is looked
// at, so that it is known who is built on whom; then disks that must not be written any more are
// frozen; then new chains are opened, each layer in its role; nothing is shown before that.
//
// A record that another daemon changes meanwhile (it ran a snapshot and let go of its locks) is
// noticed by reading the records again after the images are locked.
//
// Threads: all methods need CatalogParts::mu. A full scan lets others in.
#pragma once

#include <cstdint>
#include <functional>

#include "blocklayer/base/wake_up.h"
#include "blocklayer/catalog/background_repairs.h"
#include "blocklayer/catalog/candidate_matcher.h"
#include "blocklayer/catalog/chain_recovery.h"
#include "blocklayer/catalog/entry_opener.h"
#include "blocklayer/catalog/layer_roles.h"
#include "blocklayer/catalog/list_publisher.h"

namespace chainfs {

class Scanner {
 public:
  enum class Kind : uint8_t {
    kFull,   // lets others in before each image that it opens
    kQuick,  // leaves what would have to be opened to the next full one
  };
  // What a scan works on and with; all of it outlives the scanner.
  struct Parts {
    ScanPauses& pauses;
    Roots& roots;
    LayerPool& pool;
    Sources& sources;
    RecordStore& records;
    BackgroundRepairs& repairs;
    WakeUp& wake_up;
    ChainSet& chains;
    HiddenUsers& hidden;
    LeftOutMarks& marks;
    LayerRoles& roles;
    CandidateMatcher& matcher;
    EntryOpener& opener;
    ChainRecovery& recovery;
    ListPublisher& publisher;
  };

  // `read_only`: of the mount.
  Scanner(const Parts& parts, ChainOpeners openers, bool read_only)
      : p_(parts), openers_(openers), read_only_(read_only) {}

  Status Scan(Kind kind);
  // A quick scan after a change; where it fails, what is known is published.
  void ShowChanges();
  // After a change that no file tells of: who may be written now, and what is shown.
  void UpdateRoles();

 private:
  // Whether anything was opened.
  bool Reconcile(Inventory inventory, Kind kind);
  bool OpenEntries(ChainOpener& opener, Kind kind);
  bool IsQuicklyOpened(const CatalogEntry& entry) const;
  void ForgetRepairs();
  // Lets go of what is remembered of things that are gone.
  void ForgetTheGone();

  const Parts p_;
  const ChainOpeners openers_;
  const bool read_only_;
  uint64_t scans_ = 0;
};

}  // namespace chainfs
