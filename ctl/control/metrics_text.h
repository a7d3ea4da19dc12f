// SPDX-License-Identifier: Apache-2.0
//
// The metrics of a mount, as Prometheus text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ctl/control/served_disks.h"
#include "jobs/engine/job_info.h"

namespace chainfs::control {

struct MetricsView {
  std::vector<ServedDiskPtr> disks;
  std::vector<std::string> traced = {};  // names of those whose reads are being recorded
  std::vector<jobs::JobInfo> jobs;
  uint64_t metadata_hits = 0;
  uint64_t metadata_misses = 0;
  uint64_t metadata_bytes = 0;
};
std::string MetricsText(const MetricsView& view);

}  // namespace chainfs::control
