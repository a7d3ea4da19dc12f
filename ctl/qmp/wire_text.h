// SPDX-License-Identifier: Apache-2.0
//
// The text of what is sent: one line of JSON, spaced as QEMU does it, because scripts look for
// "\"return\": {}".
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace chainfs::qmp {

// With the line's end, CR LF. What is not UTF-8 comes with replacement characters.
std::string WireText(const nlohmann::ordered_json& value);

}  // namespace chainfs::qmp
