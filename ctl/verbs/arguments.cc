// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/text_values.h"

namespace chainfs::verbs {
namespace {

// The items between single commas, with `,,` made one comma.
std::vector<std::string> SplitItems(std::string_view value) {
  std::vector<std::string> items(1);
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] != ',') {
      items.back().push_back(value[i]);
    } else if (i + 1 < value.size() && value[i + 1] == ',') {
      items.back().push_back(',');
      ++i;
    } else {
      items.emplace_back();
    }
  }
  return items;
}

std::string_view WithoutTail(std::string_view value) {
  while (!value.empty() && (value.back() == '\n' || value.back() == '\0')) value.remove_suffix(1);
  return value;
}

bool IsControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7f;
}

}  // namespace

Result<Arguments> Arguments::Parse(std::string_view value, std::span<const Key> keys) {
  CHAINFS_ASSIGN(Arguments arguments, Split(value, keys));
  CHAINFS_TRY(arguments.CheckValues(keys));
  return arguments;
}

Result<Arguments> Arguments::Split(std::string_view value, std::span<const Key> keys) {
  if (value.size() > kMaxCommandBytes) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("the value is longer than {} bytes", kMaxCommandBytes));
  }
  value = WithoutTail(value);
  if (std::ranges::any_of(value, IsControl)) {
    return Fail(ErrorKind::kInvalidArgument, "the value contains control characters");
  }
  Arguments arguments;
  if (value.empty()) return arguments;
  for (const std::string& item : SplitItems(value)) {
    const size_t equals = item.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("\"{}\" is not of the form key=value", item));
    }
    std::string key = item.substr(0, equals);
    if (FindKey(keys, key) == nullptr) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("unknown key \"{}\"; known are {}", key, KeyNames(keys)));
    }
    if (arguments.Has(key)) {
      return Fail(ErrorKind::kInvalidArgument, fmt::format("key \"{}\" is given twice", key));
    }
    arguments.Set(key, std::string_view(item).substr(equals + 1));
  }
  return arguments;
}

Status Arguments::CheckValues(std::span<const Key> keys) const {
  for (const Key& key : keys) {
    const std::string* const text = Find(key.name);
    if (text != nullptr) {
      CHAINFS_TRY(CheckValue(key, *text));
    } else if (key.required) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("{}= is missing: {}", key.name, key.help));
    }
  }
  return {};
}

Arguments& Arguments::Set(std::string_view key, std::string_view value) {
  const auto found = std::ranges::find(items_, key, &std::pair<std::string, std::string>::first);
  if (found != items_.end()) {
    found->second = value;
  } else {
    items_.emplace_back(key, value);
  }
  return *this;
}

Arguments& Arguments::SetIf(std::string_view key, const std::optional<std::string>& value) {
  return value ? Set(key, *value) : *this;
}

std::string Arguments::Format() const {
  std::string text;
  for (const auto& [key, value] : items_) {
    if (!text.empty()) text += ',';
    text += key;
    text += '=';
    for (const char letter : value) {
      if (letter == ',') text += ',';
      text += letter;
    }
  }
  return text;
}

const std::string* Arguments::Find(std::string_view key) const {
  const auto found = std::ranges::find(items_, key, &std::pair<std::string, std::string>::first);
  return found == items_.end() ? nullptr : &found->second;
}

std::optional<std::string> Arguments::Text(std::string_view key) const {
  const std::string* const found = Find(key);
  if (found == nullptr) return std::nullopt;
  return *found;
}

Result<std::optional<std::string>> Arguments::TextOf(std::string_view key, KeyType type) const {
  std::optional<std::string> text = Text(key);
  if (text) {
    CHAINFS_TRY(CheckValue({.name = key, .type = type, .help = {}, .otherwise = {}}, *text));
  }
  return text;
}

Result<std::optional<uint64_t>> Arguments::Number(std::string_view key) const {
  CHAINFS_ASSIGN(const std::optional<std::string> text, TextOf(key, KeyType::kNumber));
  return text ? ParseNumber(*text) : std::nullopt;
}

Result<std::optional<uint64_t>> Arguments::Size(std::string_view key) const {
  CHAINFS_ASSIGN(const std::optional<std::string> text, TextOf(key, KeyType::kSize));
  return text ? ParseSize(*text) : std::nullopt;
}

Result<bool> Arguments::Switch(std::string_view key, bool otherwise) const {
  CHAINFS_ASSIGN(const std::optional<std::string> text, TextOf(key, KeyType::kSwitch));
  return text ? *ParseSwitch(*text) : otherwise;
}

}  // namespace chainfs::verbs
