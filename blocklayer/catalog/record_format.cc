// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/record_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "blocklayer/base/percent_text.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

using RecordJson = nlohmann::ordered_json;

constexpr uint64_t kRecordVersion = 2;
constexpr std::string_view kVersionKey = "version";

// Whether a key may have any number of values.
bool IsListKey(std::string_view key) {
  return key == "root" || key == "drop" || key == "stale" || key == "merged" || key == "file-born";
}

std::unexpected<Error> MakesNoSense(std::string_view where, std::string_view why) {
  return Fail(ErrorKind::kInvalidFormat, fmt::format("{} {}", where, why));
}

std::unexpected<Error> UnknownVersion(const std::string& version) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("it has version {}, but this chainfs knows only versions 1 and {}",
                          EscapeText(version), kRecordVersion));
}

// What all keys are made of; anything else could not be written as JSON.
bool IsKeyText(std::string_view key) {
  return !key.empty() &&
         key.find_first_not_of("abcdefghijklmnopqrstuvwxyz-") == std::string_view::npos;
}

// The escapes of version 1: \\, \n, \xHH.
std::optional<std::string> UnescapeOldValue(std::string_view value) {
  std::string plain;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '\\') {
      plain += value[i];
      continue;
    }
    const char kind = i + 1 < value.size() ? value[i + 1] : '\0';
    if (kind == '\\' || kind == 'n') {
      plain += kind == 'n' ? '\n' : '\\';
      i += 1;
      continue;
    }
    unsigned byte = 0;
    const char* digits = value.data() + std::min(i + 2, value.size());
    const char* end = value.data() + std::min(i + 4, value.size());
    const auto [parsed, error] = std::from_chars(digits, end, byte, 16);
    if (kind != 'x' || error != std::errc{} || parsed != digits + 2) return std::nullopt;
    plain += static_cast<char>(byte);
    i += 3;
  }
  return plain;
}

Result<RecordFields> ParseOldRecord(std::string_view text) {
  RecordFields fields;
  std::set<std::string_view> seen;
  for (int number = 1; !text.empty(); ++number) {
    const std::string where = fmt::format("line {}", number);
    const size_t end = text.find('\n');
    // A record is written whole, so a last line without its end is not ours.
    if (end == std::string_view::npos) return MakesNoSense(where, "does not end");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) return MakesNoSense(where, "is not key=value");
    const std::string_view key = line.substr(0, equals);
    if (!IsKeyText(key)) return MakesNoSense(where, "begins with no key");
    if (!seen.insert(key).second && !IsListKey(key)) return MakesNoSense(where, "repeats a key");
    std::optional<std::string> value = UnescapeOldValue(line.substr(equals + 1));
    if (!value) return MakesNoSense(where, "has a wrong escape");
    if ((number == 1) != (key == kVersionKey)) {
      return MakesNoSense(where, "is not where \"version\" belongs");
    }
    if (key != kVersionKey) {
      fields.push_back({.key = std::string(key), .value = *std::move(value), .where = where});
    } else if (*value != "1") {
      return UnknownVersion(*value);
    }
  }
  if (!seen.empty()) return fields;
  return Fail(ErrorKind::kInvalidFormat, fmt::format("it has no \"{}\"", kVersionKey));
}

// Not an object where a key is there twice: which one is meant nobody can tell.
RecordJson ParseObject(std::string_view text) {
  std::set<std::string> seen;
  bool repeats = false;
  const auto note_key = [&](int depth, RecordJson::parse_event_t event, RecordJson& parsed) {
    if (depth == 1 && event == RecordJson::parse_event_t::key) {
      repeats = !seen.insert(parsed.get<std::string>()).second || repeats;
    }
    return true;
  };
  RecordJson json = RecordJson::parse(text, note_key, false);
  return repeats ? RecordJson() : json;
}

// Appends the values of one key; false when they are of another kind than it has.
bool AddValues(const std::string& key, const RecordJson& json, RecordFields& fields) {
  const auto add = [&](const RecordJson& value) {
    if (!value.is_string()) return false;
    fields.push_back({.key = key,
                      .value = PercentUnescape(value.get_ref<const std::string&>()),
                      .where = fmt::format("\"{}\"", EscapeText(key))});
    return true;
  };
  // Earlier versions wrote one string for "merged".
  if (!IsListKey(key) || (key == "merged" && json.is_string())) return add(json);
  return json.is_array() && std::ranges::all_of(json, add);
}

}  // namespace

std::string FormatRecord(const RecordFields& fields) {
  RecordJson json = RecordJson::object();
  json[std::string(kVersionKey)] = kRecordVersion;
  for (const RecordField& field : fields) {
    if (IsListKey(field.key)) {
      json[field.key].push_back(PercentEscape(field.value));
    } else {
      json[field.key] = PercentEscape(field.value);
    }
  }
  return json.dump(2) + "\n";
}

Result<RecordFields> ParseRecord(std::string_view text) {
  if (!text.starts_with('{')) return ParseOldRecord(text);
  const RecordJson json = ParseObject(text);
  if (!json.is_object()) {
    return MakesNoSense("it", "is not one complete JSON object without repeated keys");
  }
  const auto version = json.find(kVersionKey);
  if (version == json.end()) {
    return Fail(ErrorKind::kInvalidFormat, fmt::format("it has no \"{}\"", kVersionKey));
  }
  if (*version != kRecordVersion) return UnknownVersion(version->dump());
  RecordFields fields;
  for (const auto& [key, value] : json.items()) {
    if (key == kVersionKey) continue;
    if (!AddValues(key, value, fields)) {
      return MakesNoSense(fmt::format("\"{}\"", EscapeText(key)),
                          IsListKey(key) ? "is not a list of strings" : "is not a string");
    }
  }
  return fields;
}

}  // namespace chainfs
