// SPDX-License-Identifier: Apache-2.0
//
// The keys cluster_size= and extended_l2= of commands that make an image.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <optional>

#include "blocklayer/base/result.h"
#include "ctl/verbs/arguments.h"

namespace chainfs::jobs {

struct ClusterKeys {
  uint32_t bits = 16;                    // of the size of a cluster, as a power of two
  std::optional<bool> subclusters = {};  // nothing: as the image that the new one stands on
};

// kInvalidArgument: of that size there are none, or none that are divided.
Result<ClusterKeys> ClustersWanted(const verbs::Arguments& arguments);

}  // namespace chainfs::jobs
