// SPDX-License-Identifier: Apache-2.0
//
// SpaceWarning: whether a stream may run out of space, by what is known without reading a map: what
// the layers that it merges occupy, and what the layer that it fills lacks, bound what it copies.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/base/result.h"
#include "jobs/stream/stream_plan.h"

namespace chainfs::jobs {

// A sentence with both figures when the file system that holds `top` has less free than the stream
// may need; nothing when it has enough, or when the host cannot say. It is no more than a hint:
// where blocks can be shared, less is needed, and compressed clusters need more than they occupy.
std::optional<std::string> SpaceWarning(const StreamPlan& plan);
// Bytes that the stream copies at most: what the layers between occupy, but no more than top has
// not got yet. Nothing when the host cannot say.
std::optional<uint64_t> SpaceNeeded(const StreamPlan& plan);
// The same as the first, of figures in bytes.
std::optional<std::string> SpaceWarning(const std::string& top, uint64_t needed, uint64_t free);

}  // namespace chainfs::jobs
