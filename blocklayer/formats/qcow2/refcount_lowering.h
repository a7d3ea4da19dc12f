// SPDX-License-Identifier: Apache-2.0
//
// LowerRefcounts: gives leaked clusters back, in the refcount blocks where they are.
//
// Crash ordering: each count becomes what refers to the cluster, so every sector is right by itself
// and no order is needed; what a kill leaves is a leak.
#pragma once

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/reference_walk.h"
#include "blocklayer/formats/qcow2/reference_window.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// The image has no bad entries and no bad refcount blocks (CheckFindings). Durable on return.
Status LowerRefcounts(File& file, const Qcow2Header& header, ReferenceWindow& window,
                      const WalkControl& control);

}  // namespace chainfs::qcow2
