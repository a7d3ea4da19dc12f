// SPDX-License-Identifier: Apache-2.0
//
// Names for jobs that the user has not named.
#pragma once

#include <string>
#include <string_view>

namespace chainfs::chainctl {

// "stream-4711-1": unique on this host while the process lives, and legal as a job id.
std::string NewJobId(std::string_view type);

}  // namespace chainfs::chainctl
