// SPDX-License-Identifier: Apache-2.0
//
// CheckOnce: one look at a whole image, comparing the refcounts and COPIED flags on disk with what
// the image refers to. A repair looks several times.
//
// Threads: plain function; the file is read, and written, from the threads of the runner.
#pragma once

#include <cstdint>
#include <set>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/reference_walk.h"
#include "blocklayer/formats/qcow2/reference_window.h"
#include "blocklayer/image/image_check.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

struct CheckFindings {
  ImageCheckReport report;
  bool past_end = false;      // entries name clusters past the end of the file
  bool bad_blocks = false;    // the refcount structure is broken
  bool low_counts = false;    // clusters have more references than their refcount says
  bool wrong_flags = false;   // COPIED flags disagree with the refcounts on disk
  bool unsafe_lists = false;  // there are more overlaps than `overlapped` may name
  // Clusters that are used as two things at once.
  std::set<HostOffset> overlapped;

  // Bytes of this cluster of a table may be changed.
  bool MayChange(HostOffset cluster) const {
    return !unsafe_lists && !overlapped.contains(cluster);
  }
};

// `fix`: what an earlier look found; COPIED flags are set right, durably on return, in tables where
// nothing else is wrong.
Result<CheckFindings> CheckOnce(File& file, const Qcow2Header& header, ReferenceWindow& window,
                                const WalkControl& control, const CheckFindings* fix = nullptr);

}  // namespace chainfs::qcow2
