// SPDX-License-Identifier: Apache-2.0
//
// The values of command attributes: `key=value,key=value`, where `,,` is a literal comma (QEMU's
// syntax). Syntax only; which keys a verb takes is in the table of verbs.
//
// A trailing newline or NUL (shells and attr tools add them) is dropped. Anything else that is odd
// is refused: control characters, an item without '=', an empty, repeated or unknown key, a value
// longer than 4 KiB.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::verbs {

inline constexpr size_t kMaxCommandBytes = 4096;

class Arguments {
 public:
  // `known` lists the keys that the verb takes; any other is kInvalidArgument.
  static Result<Arguments> Parse(std::string_view value,
                                 const std::vector<std::string_view>& known);

  bool Has(std::string_view key) const { return values_.contains(key); }
  // Nothing when the key was not given. An empty text is a value like any other.
  std::optional<std::string> Text(std::string_view key) const;
  // kInvalidArgument, naming the key, when the value is not of the kind.
  Result<std::optional<uint64_t>> Number(std::string_view key) const;
  Result<std::optional<uint64_t>> Size(std::string_view key) const;
  Result<bool> Switch(std::string_view key, bool otherwise) const;

 private:
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace chainfs::verbs
