// SPDX-License-Identifier: Apache-2.0
//
// Name records: which image of a source goes by a name that another one would have by the rules,
// had both been there at the first mount. One small file each in SOURCE/.chainfs
// (record_directory.h), made when a newcomer appears whose file name has the same stem as a disk in
// use; without it both would have other names after the next mount. It decides nothing but a name,
// so one that is damaged, not trusted, or whose image is gone does not count.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace chainfs {

inline constexpr std::string_view kNameRecordPrefix = "name-";

struct NameRecord {
  std::string name;   // the disk's
  std::string image;  // a file name in the source
  bool operator==(const NameRecord&) const = default;
};

std::string FormatNameRecord(const NameRecord& record);
// Nothing when it makes no sense.
std::optional<NameRecord> ParseNameRecord(std::string_view text);
// The file name for the record of `name`.
std::string NameRecordName(std::string_view name);

}  // namespace chainfs
