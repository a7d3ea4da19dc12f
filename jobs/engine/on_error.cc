// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/on_error.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr std::array<std::pair<OnError, std::string_view>, 4> kPolicies = {
    {{OnError::kReport, "report"},
     {OnError::kIgnore, "ignore"},
     {OnError::kStop, "stop"},
     {OnError::kEnospc, "enospc"}}};

}  // namespace

std::string_view OnErrorName(OnError policy) {
  for (const auto& [value, name] : kPolicies) {
    if (value == policy) return name;
  }
  return {};
}

Result<OnError> ParseOnError(std::string_view word) {
  for (const auto& [policy, name] : kPolicies) {
    if (name == word) return policy;
  }
  return Fail(
      ErrorKind::kInvalidArgument,
      fmt::format("on-error={} is not one of report, ignore, stop, enospc", EscapeText(word)));
}

ErrorAction ActionOn(OnError policy, const Error& error) {
  switch (policy) {
    case OnError::kReport:
      return ErrorAction::kReport;
    case OnError::kIgnore:
      return ErrorAction::kIgnore;
    case OnError::kStop:
      return ErrorAction::kStop;
    case OnError::kEnospc:
      break;
  }
  return error.kind == ErrorKind::kNoSpace ? ErrorAction::kStop : ErrorAction::kReport;
}

std::string_view ErrorActionName(ErrorAction action) {
  switch (action) {
    case ErrorAction::kIgnore:
      return "ignore";
    case ErrorAction::kStop:
      return "stop";
    case ErrorAction::kReport:
      break;
  }
  return "report";
}

std::string_view IoStatusName(const Error& error) {
  return error.kind == ErrorKind::kNoSpace ? "nospace" : "failed";
}

}  // namespace chainfs::jobs
