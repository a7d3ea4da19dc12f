// SPDX-License-Identifier: Apache-2.0
//
// BackupPlan: what a backup copies, and where to: the words of a request become layers and a place.
//
// Terms: the *point* is the chain as it was when the backup started, from the layer that was active
// then down to the base. The backup *selects* what the uppermost layers of it own.
//
// Threads: values; the functions call only the catalog and the disk.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "ctl/verbs/arguments.h"
#include "jobs/copy/piece_cutter.h"
#include "jobs/engine/layer_claims.h"

namespace chainfs::jobs {

enum class BackupSync : uint8_t {
  kFull,   // everything that the disk showed
  kTop,    // what the layer had that was active
  kSince,  // what changed since a layer froze
};

struct BackupTargetPlan {
  NewImagePlan place;
  ImageFormat format = ImageFormat::kQcow2;
  uint32_t cluster_bits = 16;
  bool subclusters = false;
  std::optional<ImageCompression> compression = {};  // of what is copied
};

struct BackupPlan {
  Layers point;  // top to base, at least one
  BackupSync sync = BackupSync::kFull;
  uint32_t selected = 0;  // of the uppermost layers; all of them for kFull
  LayerPtr backing;       // the layer below those, which the target is built on; null: none
  std::optional<BackupTargetPlan> target;  // nothing: the point is only held
  bool hold = false;                       // the point stays until somebody completes the job
  std::string overlay;    // where guests write meanwhile; empty: as the catalog has it
  bool anywhere = false;  // files may lie outside the sources

  uint64_t size() const { return point.front()->image->virtual_size(); }
  // Bytes to walk.
  uint64_t length() const { return target ? size() : 0; }
  CopySelection selection() const;
};

// What an earlier daemon has left of the same backup.
struct BackupBegun {
  bool taken_up = false;  // there was one, and the target may be there
  LayerPtr frozen = {};   // the point's uppermost layer, where it is held already
};

// `anywhere`: files may lie outside the sources. kNotFound (layer), kInvalidArgument, kExists and
// kAccess (target).
Result<BackupPlan> PlanBackup(Catalog& catalog, const DiskPtr& disk,
                              const verbs::Arguments& arguments, const BackupBegun& begun,
                              bool anywhere);
// kInvalidArgument when the target is the file that guests are to write to meanwhile: an overlay
// called `name`, absolute or from the active layer's directory. `there`: it may be there.
Status CheckOverlay(Catalog& catalog, const DiskPtr& disk, const BackupPlan& plan,
                    const std::string& name, bool there);
// The keys with which the same is planned again.
verbs::Arguments CommandOf(const BackupPlan& plan);
LayerClaims ClaimsOf(const BackupPlan& plan);
std::string_view BackupSyncName(BackupSync sync);  // "full"

}  // namespace chainfs::jobs
