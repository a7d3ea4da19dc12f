// SPDX-License-Identifier: Apache-2.0
//
// Layers that hold internal snapshots keep what these need: a chain does not do without such a
// layer, and nothing that it is built on is written. (Its backing file does not change, either: its
// image refuses that.)
//
// Threads: plain functions.
#pragma once

#include <span>
#include <string_view>

#include "blocklayer/chain/disk.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

// kUnsupported, naming the layer and its snapshots, if one of `layers` has any. `deed`, for people:
// what would damage them ("a commit").
Status CheckHoldNoSnapshots(std::span<const LayerPtr> layers, std::string_view deed);

// kReadOnly if the disk is one of an internal snapshot, which takes no commands.
Status CheckIsNoSnapshot(const Disk& disk);

}  // namespace chainfs
