// SPDX-License-Identifier: Apache-2.0
//
// Parameters: the arguments of a command, taken one by one by name and type. What is missing, of
// another type or left over is kept as the first error, which Finish tells; until then a parameter
// that is wrong reads as if it were not there, so check Finish before acting on any.
//
// Threads: none; belongs to one command.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "ctl/qmp/qmp_error.h"

namespace chainfs::qmp {

class Parameters {
 public:
  // `arguments`, an object, outlives this. `prefix` is put before the names in errors: "file.".
  explicit Parameters(const nlohmann::json& arguments, std::string prefix = "");

  std::string Text(std::string_view name);  // "" when it is wrong
  std::optional<std::string> OptionalText(std::string_view name);
  int64_t Integer(std::string_view name);
  std::optional<int64_t> OptionalInteger(std::string_view name);
  bool Switch(std::string_view name, bool otherwise);
  std::optional<std::string> OptionalWord(std::string_view name,
                                          std::span<const std::string_view> words);
  std::string Word(std::string_view name, std::span<const std::string_view> words);
  // Any value, null when there is none.
  const nlohmann::json* Any(std::string_view name);
  const nlohmann::json* Object(std::string_view name);  // null when it is wrong
  const nlohmann::json* Array(std::string_view name);   // the same

  // Parameters that QEMU has and that change nothing here: taken, whatever they are.
  void Ignore(std::string_view name) { (void)Any(name); }
  // The first error.
  QmpStatus Finish();

 private:
  const nlohmann::json* Required(std::string_view name);
  void Keep(std::string error);
  void KeepWrongType(std::string_view name, std::string_view expected);
  std::optional<std::string> AsText(std::string_view name, const nlohmann::json* value);
  std::optional<int64_t> AsInteger(std::string_view name, const nlohmann::json* value);

  const nlohmann::json& arguments_;
  const std::string prefix_;
  std::set<std::string, std::less<>> taken_;
  std::optional<std::string> error_;
};

}  // namespace chainfs::qmp
