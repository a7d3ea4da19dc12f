// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/cluster_keys.h"

#include <fmt/format.h>

#include <bit>

#include "blocklayer/image/create_options.h"

namespace chainfs::jobs {

Result<ClusterKeys> ClustersWanted(const verbs::Arguments& arguments) {
  ClusterKeys wanted;
  CHAINFS_ASSIGN(const std::optional<uint64_t> size, arguments.Size("cluster_size"));
  if (size) {
    if (!std::has_single_bit(*size) || *size < 512 || *size > (2u << 20)) {
      return Fail(ErrorKind::kInvalidArgument,
                  "cluster_size must be a power of two from 512 to 2M");
    }
    wanted.bits = static_cast<uint32_t>(std::countr_zero(*size));
  }
  if (!arguments.Has("extended_l2")) return wanted;
  CHAINFS_ASSIGN(wanted.subclusters, arguments.Switch("extended_l2", false));
  if (*wanted.subclusters && wanted.bits < kLeastSubclusterBits) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("extended_l2 needs a cluster_size of at least {}k",
                            (1u << kLeastSubclusterBits) / 1024));
  }
  return wanted;
}

}  // namespace chainfs::jobs
