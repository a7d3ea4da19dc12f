// SPDX-License-Identifier: Apache-2.0
//
// JobFacts: what users see of one kind of job only, such as the target of a copy: keys and values
// of its JSON, after those that every job has.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace chainfs::jobs {

using JobFacts = std::vector<std::pair<std::string, std::variant<bool, uint64_t, std::string>>>;

}  // namespace chainfs::jobs
