// SPDX-License-Identifier: Apache-2.0
//
// The values of command attributes: `key=value,key=value`, where `,,` is a literal comma (QEMU's
// syntax). Syntax only; which keys a verb takes is in the table of verbs.
//
// A trailing newline or NUL (shells and attr tools add them) is dropped. Anything else that is odd
// is refused: control characters, an item without '=', an empty, repeated or unknown key, a value
// longer than 4 KiB.
//
// Arguments are a value: built key by key or parsed, and written as text again. Parse undoes Format
// as long as no value has control characters.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::verbs {

inline constexpr size_t kMaxCommandBytes = 4096;

class Arguments {
 public:
  // `known` lists the keys that the verb takes; any other is kInvalidArgument.
  static Result<Arguments> Parse(std::string_view value,
                                 const std::vector<std::string_view>& known);

  // A value that the key had before is replaced, in its place.
  Arguments& Set(std::string_view key, std::string_view value);
  // Nothing happens when there is no value.
  Arguments& SetIf(std::string_view key, const std::optional<std::string>& value);
  // The text that Parse takes, in the order in which the keys came.
  std::string Format() const;

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  // Nothing when the key was not given. An empty text is a value like any other.
  std::optional<std::string> Text(std::string_view key) const;
  // kInvalidArgument, naming the key, when the value is not of the kind.
  Result<std::optional<uint64_t>> Number(std::string_view key) const;
  Result<std::optional<uint64_t>> Size(std::string_view key) const;
  Result<bool> Switch(std::string_view key, bool otherwise) const;

  friend bool operator==(const Arguments&, const Arguments&) = default;

 private:
  const std::string* Find(std::string_view key) const;

  std::vector<std::pair<std::string, std::string>> items_;
};

}  // namespace chainfs::verbs
