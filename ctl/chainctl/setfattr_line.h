// SPDX-License-Identifier: Apache-2.0
//
// The shell line that does what a verb does.
#pragma once

#include <string>
#include <string_view>

namespace chainfs::chainctl {

// What -v prints: the line that writes `value` to user.chainfs.`verb` of `path`. Quoted for the
// shell, and for setfattr, which itself understands backslashes.
std::string SetfattrLine(std::string_view verb, std::string_view value, std::string_view path);

}  // namespace chainfs::chainctl
