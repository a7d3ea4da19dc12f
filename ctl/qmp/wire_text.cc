// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/wire_text.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace chainfs::qmp {

std::string WireText(const nlohmann::ordered_json& value) {
  const std::string dense =
      value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string text;
  text.reserve(dense.size() + dense.size() / 8 + 2);
  bool quoted = false;
  bool escaped = false;
  for (const char letter : dense) {
    text += letter;
    if (std::exchange(escaped, false)) continue;
    if (letter == '"') quoted = !quoted;
    if (quoted && letter == '\\') escaped = true;
    if (!quoted && (letter == ',' || letter == ':')) text += ' ';
  }
  return text += "\r\n";
}

}  // namespace chainfs::qmp
