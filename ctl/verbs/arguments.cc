// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/arguments.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

Result<Arguments> Arguments::Parse(std::string_view value,
                                   const std::vector<std::string_view>& known) {
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
    if (std::ranges::find(known, key) == known.end()) {
      return Fail(ErrorKind::kInvalidArgument,
                  fmt::format("unknown key \"{}\"; known are {}", key, fmt::join(known, ", ")));
    }
    if (arguments.Has(key)) {
      return Fail(ErrorKind::kInvalidArgument, fmt::format("key \"{}\" is given twice", key));
    }
    arguments.Set(key, std::string_view(item).substr(equals + 1));
  }
  return arguments;
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

Result<std::optional<uint64_t>> Arguments::Number(std::string_view key) const {
  const std::optional<std::string> text = Text(key);
  if (!text) return std::nullopt;
  const std::optional<uint64_t> number = ParseNumber(*text);
  if (!number) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{}={} is not a number", key, *text));
  }
  return number;
}

Result<std::optional<uint64_t>> Arguments::Size(std::string_view key) const {
  const std::optional<std::string> text = Text(key);
  if (!text) return std::nullopt;
  const std::optional<uint64_t> size = ParseSize(*text);
  if (!size) {
    return Fail(
        ErrorKind::kInvalidArgument,
        fmt::format("{}={} is not a size; write bytes, or a number with k, M, G or T", key, *text));
  }
  return size;
}

Result<bool> Arguments::Switch(std::string_view key, bool otherwise) const {
  const std::optional<std::string> text = Text(key);
  if (!text) return otherwise;
  const std::optional<bool> on = ParseSwitch(*text);
  if (!on) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}={} is neither yes nor no", key, *text));
  }
  return *on;
}

}  // namespace chainfs::verbs
