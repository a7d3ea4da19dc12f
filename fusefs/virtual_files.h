// SPDX-License-Identifier: Apache-2.0
//
// What the files of .chainfs contain, apart from `events` (events_file.h). Contents are those of
// the moment of opening, except a map, which is made as it is read and is exact only while nobody
// writes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fusefs/inodes.h"
#include "fusefs/text_stream.h"
#include "jobs/engine/job.h"

namespace chainfs::fusefs {

// The extents of a disk, with the layer that each comes from; keys of `qemu-img map`.
std::unique_ptr<TextStream> MapStream(const DiskPtr& disk);

// Prometheus text.
struct MetricsView {
  std::vector<NodePtr> disks;
  std::vector<jobs::JobInfo> jobs;
  uint64_t metadata_hits = 0;
  uint64_t metadata_misses = 0;
  uint64_t metadata_bytes = 0;
};
std::string MetricsText(const MetricsView& view);

}  // namespace chainfs::fusefs
