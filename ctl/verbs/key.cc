// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/key.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "blocklayer/base/text_values.h"
#include "ctl/verbs/job_id.h"

namespace chainfs::verbs {
namespace {

Status BadValue(const Key& key, std::string_view text, std::string_view what) {
  return Fail(ErrorKind::kInvalidArgument, fmt::format("{}={} {}", key.name, text, what));
}

}  // namespace

Status CheckValue(const Key& key, std::string_view text) {
  switch (key.type) {
    case KeyType::kText:
      return {};
    case KeyType::kLayer:
    case KeyType::kFile:
    case KeyType::kDisk:
    case KeyType::kJobId:
      if (text.empty()) return BadValue(key, text, "has no value");
      return {};
    case KeyType::kNewId:
      return CheckJobId(text);
    case KeyType::kNumber:
      if (!ParseNumber(text)) return BadValue(key, text, "is not a number");
      return {};
    case KeyType::kSize:
    case KeyType::kRate:
      if (ParseSize(text)) return {};
      return BadValue(key, text, "is not a size; write bytes, or a number with k, M, G or T");
    case KeyType::kSwitch:
      if (!ParseSwitch(text)) return BadValue(key, text, "is neither yes nor no");
      return {};
    case KeyType::kWord:
      if (std::ranges::find(key.words, text) != key.words.end()) return {};
      return BadValue(key, text, fmt::format("is not one of {}", fmt::join(key.words, ", ")));
  }
  return {};
}

std::string ValueName(const Key& key) {
  switch (key.type) {
    case KeyType::kText:
      return "TEXT";
    case KeyType::kLayer:
      return "LAYER";
    case KeyType::kFile:
      return "FILE";
    case KeyType::kDisk:
      return "NAME";
    case KeyType::kNewId:
    case KeyType::kJobId:
      return "ID";
    case KeyType::kNumber:
      return "N";
    case KeyType::kSize:
      return "SIZE";
    case KeyType::kRate:
      return "RATE";
    case KeyType::kSwitch:
      return "yes|no";
    case KeyType::kWord:
      return fmt::format("{}", fmt::join(key.words, "|"));
  }
  return "";
}

std::string KeyNames(std::span<const Key> keys) {
  std::string names;
  for (const Key& key : keys) {
    if (!names.empty()) names += ", ";
    names += key.name;
  }
  return names;
}

const Key* FindKey(std::span<const Key> keys, std::string_view name) {
  const auto found = std::ranges::find(keys, name, &Key::name);
  return found == keys.end() ? nullptr : &*found;
}

}  // namespace chainfs::verbs
