// SPDX-License-Identifier: Apache-2.0
//
// SOURCE as it is written on the command line: a directory, or `[NAME=]IMAGE[,format=qcow2|raw]`.
// A path that exists as written is taken as written, whatever commas and equals signs it contains.
#pragma once

#include <string>
#include <string_view>

#include "blocklayer/catalog.h"

namespace chainfs {

// The path of the result is absolute, resolved against `working_directory`; symbolic links stay.
Result<SourceSpec> ParseSource(const std::string& text, const std::string& working_directory);

// Absolute, "." and ".." and doubled slashes removed by name only, no trailing slash.
std::string AbsolutePath(std::string_view path, std::string_view working_directory);

}  // namespace chainfs
