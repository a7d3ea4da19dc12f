// SPDX-License-Identifier: Apache-2.0
//
// The format of the catalog's records: a JSON object whose values are strings or, where a key may
// have any number of values, lists of strings. Strings are percent-escaped (percent_text.h), so
// they hold any bytes that a path may have. Written is version 2; version 1, a line `key=value` for
// each value, is read, too.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs {

struct RecordField {
  std::string key;
  std::string value;
  std::string where = {};  // in a text that was read, for messages: "line 3"
};
// Without the version. A key of a list is there once for each value.
using RecordFields = std::vector<RecordField>;

std::string FormatRecord(const RecordFields& fields);
// kInvalidFormat naming what makes no sense; kUnsupported for another version.
Result<RecordFields> ParseRecord(std::string_view text);

}  // namespace chainfs
