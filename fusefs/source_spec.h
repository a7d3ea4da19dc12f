// SPDX-License-Identifier: Apache-2.0
//
// SOURCE as it is written on the command line: a directory, or `[NAME=]IMAGE[,format=qcow2|raw]`.
// A path that exists as written is taken as written, whatever commas and equals signs it contains.
#pragma once

#include <string>
#include <string_view>

#include "blocklayer/catalog/catalog.h"

namespace chainfs::fusefs {

// The path of the result is absolute, resolved against `working_directory`; symbolic links stay.
Result<SourceSpec> ParseSource(const std::string& text, const std::string& working_directory);

// Absolute, without "." and doubled and trailing slashes. Where ".." occurs, what comes before the
// last component is without links, too, because only the host knows what is above a link's target;
// where the host does not, ".." stays.
std::string AbsolutePath(std::string_view path, std::string_view working_directory);

}  // namespace chainfs::fusefs
