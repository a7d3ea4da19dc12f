// SPDX-License-Identifier: Apache-2.0
//
// MirrorPlan: what a mirror is about: the words of its command, checked against the disk as it is.
//
// Threads: values; the functions call only the catalog and the disk.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "blocklayer/catalog/catalog.h"
#include "jobs/copy/cluster_keys.h"
#include "jobs/engine/job_type.h"
#include "jobs/engine/layer_claims.h"
#include "jobs/mirror/intent_file.h"

namespace chainfs::jobs {

// What is copied at first; what guests write meanwhile always is.
enum class MirrorSync : uint8_t {
  kFull,  // all that the disk shows; the target needs nothing below it
  kTop,   // what the active layer has; the target is built on what that one is built on
  kNone,  // nothing; the target is built on the active layer
};
// What becomes of the disk and the target at the end.
enum class MirrorEnd : uint8_t {
  kHold,   // no end: the job is ready until somebody completes it
  kPivot,  // the disk goes on with the target
  kKeep,   // the target is left as the disk was at one moment
};
enum class CopyMode : uint8_t {
  kBackground,     // what guests write is copied later
  kWriteBlocking,  // a guest's write ends when the target has it, too
};

std::string_view MirrorSyncName(MirrorSync sync);
std::string_view MirrorEndName(MirrorEnd end);
std::string_view CopyModeName(CopyMode mode);
// kInvalidArgument for another word; `otherwise` when the key is not there.
Result<MirrorEnd> MirrorEndOf(const verbs::Arguments& arguments, MirrorEnd otherwise);
Result<CopyMode> CopyModeOf(const verbs::Arguments& arguments, CopyMode otherwise);

struct MirrorPlan {
  DiskPtr disk;
  std::string target;  // absolute path
  ImageFormat format = ImageFormat::kQcow2;
  MirrorSync sync = MirrorSync::kFull;
  CopyMode mode = CopyMode::kBackground;
  MirrorEnd end = MirrorEnd::kHold;
  bool existing = false;  // the target is an image that is there, and is written over
  bool anywhere = false;  // the target may lie outside the sources (root)
  ClusterKeys clusters = {};
  bool lazy_refcounts = false;
  std::optional<ImageCompression> compression = {};  // of what is copied at first
  bool taken_up = false;
  // Of the log that an earlier daemon left, as it was then.
  std::optional<IntentHeader> found = {};
  // The disk goes on with the target already: an earlier daemon did all but say so.
  bool done = false;
  LayerPtr backing;  // what a new target is built on; null: nothing
};

// kInvalidArgument, kReadOnly, kUnsupported: in one sentence what is wrong with it.
Result<MirrorPlan> PlanMirror(Catalog& catalog, const JobCommand& command);
LayerClaims ClaimsOf(const MirrorPlan& plan);
// With which the same would be planned again.
verbs::Arguments CommandOf(const MirrorPlan& plan);

}  // namespace chainfs::jobs
