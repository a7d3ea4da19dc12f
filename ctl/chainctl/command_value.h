// SPDX-License-Identifier: Apache-2.0
//
// CommandValue: the `key=value,key=value` text of a command attribute. A literal comma is doubled.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

class CommandValue {
 public:
  CommandValue& Add(std::string_view key, std::string_view value);
  // Nothing when there is no value.
  CommandValue& AddIf(std::string_view key, const std::optional<std::string>& value);

  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// The pairs of a `-o key=value,key=value` argument; `,,` is a literal comma. kInvalidArgument for
// an item without '=' or with an empty key, or a key given twice.
Result<std::vector<std::pair<std::string, std::string>>> SplitOptions(std::string_view list);

// The shell line that does the same as writing `value` to user.chainfs.`verb` of `path`: what -v
// prints. Quoted for the shell, and for setfattr, which itself understands backslashes.
std::string SetfattrLine(std::string_view verb, std::string_view value, std::string_view path);

// "stream-4711-1": unique on this host while the process lives, and legal as a job id.
std::string NewJobId(std::string_view type);
// [A-Za-z][A-Za-z0-9._-]*, at most 128 bytes.
bool IsPlausibleJobId(std::string_view id);

}  // namespace chainfs::chainctl
