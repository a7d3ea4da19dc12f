// SPDX-License-Identifier: Apache-2.0
//
// Percent escapes: any bytes as printable ASCII that needs no escape of its own in JSON or between
// quotes. Escaped are control characters, bytes above 0x7e, '%', '"' and '\'.
#pragma once

#include <string>
#include <string_view>

namespace chainfs {

std::string PercentEscape(std::string_view bytes);
// Undoes it; what is no escape stays as it is.
std::string PercentUnescape(std::string_view text);

}  // namespace chainfs
