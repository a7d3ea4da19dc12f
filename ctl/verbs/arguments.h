// SPDX-License-Identifier: Apache-2.0
//
// The values of command attributes: `key=value,key=value`, where `,,` is a literal comma (QEMU's
// syntax). Which keys a verb takes, and of what type, is in the table of verbs.
//
// A trailing newline or NUL (shells and attr tools add them) is dropped. Anything else that is odd
// is refused: control characters, an item without '=', an empty, repeated or unknown key, a value
// longer than 4 KiB.
//
// Arguments are a value: built key by key or parsed, and written as text again. Parse undoes Format
// as long as no value has control characters.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/verbs/key.h"

namespace chainfs::verbs {

inline constexpr size_t kMaxCommandBytes = 4096;

class Arguments {
 public:
  // kInvalidArgument for a key that is not among `keys`, a value that is not of the key's type, or
  // a required key that is missing.
  static Result<Arguments> Parse(std::string_view value, std::span<const Key> keys);
  // The syntax and the names of the keys alone: for who still changes values before CheckValues.
  static Result<Arguments> Split(std::string_view value, std::span<const Key> keys);
  // What Parse checks besides.
  Status CheckValues(std::span<const Key> keys) const;

  // A value that the key had before is replaced, in its place.
  Arguments& Set(std::string_view key, std::string_view value);
  // Nothing happens when there is no value.
  Arguments& SetIf(std::string_view key, const std::optional<std::string>& value);
  // The text that Parse takes, in the order in which the keys came.
  std::string Format() const;

  // Keys and values, in the order in which the keys came.
  const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  // Nothing when the key was not given. An empty text is a value like any other.
  std::optional<std::string> Text(std::string_view key) const;
  // kInvalidArgument, naming the key, when the value is not of the kind; Parse has seen to that.
  Result<std::optional<uint64_t>> Number(std::string_view key) const;
  Result<std::optional<uint64_t>> Size(std::string_view key) const;
  Result<bool> Switch(std::string_view key, bool otherwise) const;

  friend bool operator==(const Arguments&, const Arguments&) = default;

 private:
  const std::string* Find(std::string_view key) const;
  // Checked to be of the type.
  Result<std::optional<std::string>> TextOf(std::string_view key, KeyType type) const;

  std::vector<std::pair<std::string, std::string>> items_;
};

}  // namespace chainfs::verbs
