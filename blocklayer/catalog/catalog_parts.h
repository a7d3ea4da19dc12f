// SPDX-License-Identifier: Apache-2.0
//
// CatalogParts: what a catalog is made of, and which lock guards what.
//
// Its invariants, CAT-1 to CAT-11, are in README.md.
//
// Locks: scan_mu, held by Rescan, so that one scan goes on at a time although it lets others in;
// below it mu, held across the I/O of scans and changes (through Turn by all but scans); below it
// leaves: those of the lists, the events, the records, the repairs. A part that has no lock of its
// own is guarded by mu, and so are the parts that it refers to.
// Observers are called with none of them held, in the order of the changes.
#pragma once

#include <functional>
#include <memory>

#include "blocklayer/catalog/backing_names.h"
#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/catalog/chain_mover.h"
#include "blocklayer/catalog/data_files.h"
#include "blocklayer/catalog/group_snapshotter.h"
#include "blocklayer/catalog/layer_leases.h"
#include "blocklayer/catalog/layer_removal.h"
#include "blocklayer/catalog/new_image.h"
#include "blocklayer/catalog/record_store.h"
#include "blocklayer/catalog/reverter.h"
#include "blocklayer/catalog/scanner.h"
#include "blocklayer/catalog/snapshotter.h"
#include "blocklayer/catalog/spoilt_layers.h"
#include "blocklayer/catalog/target_images.h"
#include "blocklayer/catalog/user_files.h"

namespace chainfs {

struct CatalogParts {
  // `lists` outlives this. `repaired` is called when an image was checked in the background.
  CatalogParts(CatalogOptions given, ShownLists& lists, std::function<void()> repaired);

  const CatalogOptions options;
  // Shared with layers and disks: somebody may hold on to one for longer than to the catalog.
  const std::shared_ptr<BlockContext> context;
  EventQueue events;
  BackgroundRepairs repairs;

  Mutex scan_mu ACQUIRED_BEFORE(mu);
  TurnMutex mu;
  ScanPauses pauses;  // says itself what needs mu
  Roots roots GUARDED_BY(mu);
  DataFiles data_files GUARDED_BY(mu);
  LayerPool pool GUARDED_BY(mu);
  Sources sources;  // constant after the last Add but for what its header names, which needs mu
  RecordStore records;
  LayerLeases leases;

  ChainSet chains GUARDED_BY(mu);
  HiddenUsers hidden GUARDED_BY(mu);
  LeftOutMarks marks GUARDED_BY(mu);
  SpoiltLayers spoilt GUARDED_BY(mu);
  LayerRoles roles GUARDED_BY(mu);
  SnapshotDisks snapshot_disks GUARDED_BY(mu);
  ListPublisher publisher GUARDED_BY(mu);
  CandidateMatcher matcher GUARDED_BY(mu);
  EntryOpener opener GUARDED_BY(mu);
  DroppedLayers dropped GUARDED_BY(mu);
  ChainRecovery recovery GUARDED_BY(mu);
  Scanner scanner GUARDED_BY(mu);

  ChainRecords chain_records GUARDED_BY(mu);
  BackingNames names GUARDED_BY(mu);
  SnapshotTarget target GUARDED_BY(mu);
  NewImages new_images;
  UserFiles user_files;
  SnapshotSteps snapshot_steps GUARDED_BY(mu);
  Snapshotter snapshotter GUARDED_BY(mu);
  GroupSnapshotter group_snapshotter GUARDED_BY(mu);
  LayerNeeds needs GUARDED_BY(mu);
  LayerRemoval removal GUARDED_BY(mu);
  Reverter reverter GUARDED_BY(mu);
  ChainMover mover GUARDED_BY(mu);
  TargetImages targets GUARDED_BY(mu);
};

}  // namespace chainfs
