// SPDX-License-Identifier: Apache-2.0
//
// CommitPlan: which layers a commit is about: the names of a request become layers.
//
// Threads: values; the functions call only the catalog and the disk.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/layer_claims.h"

namespace chainfs::jobs {

// What was asked for. A layer is named as Catalog::FindLayer says.
struct CommitRequest {
  std::optional<std::string> top = {};    // none: the active layer
  std::optional<std::string> above = {};  // the layer above top, instead of naming top
  std::string base = {};
  // By the record of an earlier daemon, which may have got to the end: then nothing lies between
  // any more.
  bool taken_up = false;
};

struct CommitPlan {
  LayerPtr above;  // will be backed by base; null: top is the active layer, the disk moves to base
  LayerPtr top;    // null when nothing is to be done any more
  LayerPtr base;   // is written
  Layers merged;   // from top to the one above base: what they own goes into base
  std::shared_ptr<const LayerStack> source;  // from top down; null where top is the active layer
  std::shared_ptr<const LayerStack> below;   // what base is built on; null: nothing
  bool taken_up = false;
  // Of what base gets and has not got yet; one that base can hold.
  std::optional<ImageCompression> compression = {};

  // An earlier daemon has done all but to say so.
  bool nothing_to_do() const { return merged.empty(); }
  bool active() const { return above == nullptr; }
  // The layers that show something else because base is written: all but the uppermost.
  Layers Spoilt() const;
  // Only through this layer may anybody be built on what is merged or written.
  const Layer& whole() const { return above ? *above : *top; }
};

// kNotFound (layer), kInvalidArgument (order), kReadOnly (base).
Result<CommitPlan> PlanCommit(Catalog& catalog, const Disk& disk, const CommitRequest& request);

LayerClaims ClaimsOf(const CommitPlan& plan);

// kBusy, naming them, while anybody else is built on a layer that is merged or written. Looks at
// the sources. `job`: the id of the job whose record does not count; empty: none.
Status CheckNobodyElse(Catalog& catalog, const DiskPtr& disk, const CommitPlan& plan,
                       const std::string& job);

}  // namespace chainfs::jobs
