// SPDX-License-Identifier: Apache-2.0
//
// ChangedSince: which parts of a disk changed since one of its layers froze, as JSON: what the
// layers above that one have. Backup tools read the disk there and nowhere else.
//
//   {"disk":"vm1","since":"/images/vm1.qcow2","virtual-size":N,"since-virtual-size":N,"ranges":[
//   {"start":0,"length":65536,"zero":false},
//   ...]}
//
// The ranges are in order, and no two of them touch that could be one. `zero`: all of it reads as
// zeros. Where a disk has one layer only, `since` is null and the ranges are what that layer has.
// What lies past since-virtual-size and in no range is zeros.
//
// It is made as it is read, and is exact only while nobody writes: a point in time that is held is
// a disk of its own.
//
// Threads: a value.
#pragma once

#include <memory>
#include <string>

#include "blocklayer/chain/disk.h"
#include "ctl/control/text_stream.h"

namespace chainfs::control {

class ChangedSince {
 public:
  // `layer`: the file name of a layer below the active one; empty: that right below it. kNotFound,
  // kInvalidArgument (the active layer).
  static Result<ChangedSince> Of(const DiskPtr& disk, const std::string& layer);

  // Null: the disk has but one layer.
  const LayerPtr& layer() const { return layer_; }
  // Fails in its midst with kNotFound when the layer leaves the chain.
  std::unique_ptr<TextStream> Stream() const;

 private:
  ChangedSince(DiskPtr disk, LayerPtr layer) : disk_(std::move(disk)), layer_(std::move(layer)) {}

  DiskPtr disk_;
  LayerPtr layer_;
};

}  // namespace chainfs::control
