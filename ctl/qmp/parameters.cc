// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace chainfs::qmp {

Parameters::Parameters(const nlohmann::json& arguments, std::string prefix)
    : arguments_(arguments), prefix_(std::move(prefix)) {}

const nlohmann::json* Parameters::Any(std::string_view name) {
  taken_.emplace(name);
  const auto found = arguments_.find(std::string(name));
  return found == arguments_.end() ? nullptr : &*found;
}

const nlohmann::json* Parameters::Required(std::string_view name) {
  const nlohmann::json* const value = Any(name);
  if (value == nullptr) Keep(fmt::format("Parameter '{}{}' is missing", prefix_, name));
  return value;
}

void Parameters::Keep(std::string error) {
  if (!error_) error_ = std::move(error);
}

void Parameters::KeepWrongType(std::string_view name, std::string_view expected) {
  Keep(fmt::format("Invalid parameter type for '{}{}', expected: {}", prefix_, name, expected));
}

// A control character ends up in no file name and no id on purpose, and commands as text forbid it.
std::optional<std::string> Parameters::AsText(std::string_view name, const nlohmann::json* value) {
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    KeepWrongType(name, "string");
    return std::nullopt;
  }
  std::string text = value->get<std::string>();
  const auto is_control = [](char letter) {
    return static_cast<unsigned char>(letter) < 0x20 || letter == 0x7f;
  };
  if (std::ranges::any_of(text, is_control)) {
    Keep(fmt::format("Parameter '{}{}' contains control characters", prefix_, name));
    return std::nullopt;
  }
  return text;
}

std::optional<int64_t> Parameters::AsInteger(std::string_view name, const nlohmann::json* value) {
  if (value == nullptr) return std::nullopt;
  const bool fits = value->is_number_unsigned() ? value->get<uint64_t>() <= INT64_MAX
                                                : value->is_number_integer();
  if (fits) return value->get<int64_t>();
  KeepWrongType(name, "integer");
  return std::nullopt;
}

std::string Parameters::Text(std::string_view name) {
  return AsText(name, Required(name)).value_or("");
}

std::optional<std::string> Parameters::OptionalText(std::string_view name) {
  return AsText(name, Any(name));
}

int64_t Parameters::Integer(std::string_view name) {
  return AsInteger(name, Required(name)).value_or(0);
}

std::optional<int64_t> Parameters::OptionalInteger(std::string_view name) {
  return AsInteger(name, Any(name));
}

bool Parameters::Switch(std::string_view name, bool otherwise) {
  const nlohmann::json* const value = Any(name);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  KeepWrongType(name, "boolean");
  return otherwise;
}

std::optional<std::string> Parameters::OptionalWord(std::string_view name,
                                                    std::span<const std::string_view> words) {
  std::optional<std::string> word = AsText(name, Any(name));
  if (!word || std::ranges::find(words, *word) != words.end()) return word;
  Keep(fmt::format("Parameter '{}{}' does not accept value '{}'", prefix_, name, *word));
  return std::nullopt;
}

std::string Parameters::Word(std::string_view name, std::span<const std::string_view> words) {
  (void)Required(name);
  return OptionalWord(name, words).value_or("");
}

const nlohmann::json* Parameters::Object(std::string_view name) {
  const nlohmann::json* const value = Required(name);
  if (value == nullptr || value->is_object()) return value;
  KeepWrongType(name, "object");
  return nullptr;
}

const nlohmann::json* Parameters::Array(std::string_view name) {
  const nlohmann::json* const value = Required(name);
  if (value == nullptr || value->is_array()) return value;
  KeepWrongType(name, "array");
  return nullptr;
}

QmpStatus Parameters::Finish() {
  for (const auto& [name, value] : arguments_.items()) {
    if (!taken_.contains(name)) Keep(fmt::format("Parameter '{}{}' is unexpected", prefix_, name));
  }
  if (error_) return Refuse(*error_);
  return {};
}

}  // namespace chainfs::qmp
