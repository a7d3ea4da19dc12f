// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/json_access.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

const json* Member(const json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

}  // namespace

Result<json> ParseJson(std::string_view text, std::string_view what) {
  json value = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    return Fail(ErrorKind::kIo,
                fmt::format("{}: the daemon's answer is not JSON; are chainctl and chainfs of the "
                            "same version?",
                            what));
  }
  return value;
}

std::string TextOf(const json& object, const char* key) {
  const json* const value = Member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

std::optional<uint64_t> MaybeNumberOf(const json& object, const char* key) {
  const json* const value = Member(object, key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_unsigned()) return value->get<uint64_t>();
  if (value->is_number_integer()) {
    const auto number = value->get<int64_t>();
    return number < 0 ? 0 : static_cast<uint64_t>(number);
  }
  if (value->is_number_float()) {
    const auto number = value->get<double>();
    return number > 0 && number < 1.8e19 ? static_cast<uint64_t>(number) : 0;
  }
  return std::nullopt;
}

uint64_t NumberOf(const json& object, const char* key) {
  return MaybeNumberOf(object, key).value_or(0);
}

bool FlagOf(const json& object, const char* key) {
  const json* const value = Member(object, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

const json& ArrayOf(const json& object, const char* key) {
  static const json empty = json::array();
  const json* const value = Member(object, key);
  return value != nullptr && value->is_array() ? *value : empty;
}

std::vector<std::string> TextsOf(const nlohmann::json& object, const char* key) {
  std::vector<std::string> texts;
  for (const nlohmann::json& entry : ArrayOf(object, key)) {
    if (entry.is_string()) texts.push_back(entry.get<std::string>());
  }
  return texts;
}

std::string OneLine(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace chainfs::chainctl
