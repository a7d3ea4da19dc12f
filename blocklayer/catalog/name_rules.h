// SPDX-License-Identifier: Apache-2.0
//
// Name rules: which files of a directory are images, what their chains are called, and how names
// that strangers chose are shown. Pure text; nothing here touches a file.
//
// Terms: the *stem* of an image's file name is the name without its image extension. A *fixed* name
// was given by the user, stands in a chain's record, or is in use already; it is not up for choice.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/image/image.h"

namespace chainfs {

// By extension alone, as the registry of formats has it. Nothing for other files and for hidden
// ones.
std::optional<ImageFormat> FormatOfFileName(std::string_view file_name);
// Whether a job makes an image under that name, which it gives a name of its own when it is whole.
bool IsPartialName(std::string_view file_name);
// That name, beside the image's own `path`: ".NAME.JOB.part". kInvalidArgument when it is too long.
Result<std::string> PartialNameOf(std::string_view path, std::string_view job);
// `file_name` without its image extension; all of it where it has none.
std::string StemOf(std::string_view file_name);

// Longest name of a chain: with ".raw" behind it, it must still be a file name.
inline constexpr size_t kMaxChainName = 251;
// kInvalidArgument with the reason unless `name` can name a chain: one component, not hidden, not
// too long, valid UTF-8 without control characters.
Status CheckChainName(std::string_view name);

// Control characters and bytes that are not UTF-8 as \n, \t, \xHH; all else as it is. For messages
// and lists, so that a file's name cannot forge a line of a log. Doing it twice changes nothing.
std::string EscapeText(std::string_view text);
// Whether EscapeText would change nothing.
bool IsPlainText(std::string_view text);

struct NameRequest {
  std::string file_name;
  std::optional<std::string> fixed;
};
// A distinct name for each request: the fixed one; else the stem; else, where stems collide with
// each other or with a fixed name, the full file name; else that with "-2", "-3"... Where two fixed
// names are equal the first request keeps it.
std::vector<std::string> AssignNames(const std::vector<NameRequest>& requests);

}  // namespace chainfs
