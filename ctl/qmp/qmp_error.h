// SPDX-License-Identifier: Apache-2.0
//
// QmpError: how a command is refused: a class, which programs look at, and a sentence.
//
// Threads: values.
#pragma once

#include <expected>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "blocklayer/base/error.h"

namespace chainfs::qmp {

// As in QEMU's qapi/error.json.
inline constexpr std::string_view kGenericError = "GenericError";
inline constexpr std::string_view kCommandNotFound = "CommandNotFound";
inline constexpr std::string_view kDeviceNotActive = "DeviceNotActive";
inline constexpr std::string_view kDeviceNotFound = "DeviceNotFound";

struct QmpError {
  explicit QmpError(std::string why, std::string_view which = kGenericError)
      : error_class(which), description(std::move(why)) {}
  // So that the macros of result.h carry an Error of the control plane on.
  QmpError(const Error& error) : QmpError(error.message) {}

  std::string_view error_class;
  std::string description;
};

// What a command returns.
using Answer = std::expected<nlohmann::ordered_json, QmpError>;
using QmpStatus = std::expected<void, QmpError>;

inline std::unexpected<QmpError> Refuse(std::string why, std::string_view which = kGenericError) {
  return std::unexpected(QmpError(std::move(why), which));
}

}  // namespace chainfs::qmp
