// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_options.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/verbs/job_id.h"

namespace chainfs::jobs {
namespace {

constexpr std::array<std::pair<OnError, std::string_view>, 4> kPolicies = {
    {{OnError::kReport, "report"},
     {OnError::kIgnore, "ignore"},
     {OnError::kStop, "stop"},
     {OnError::kEnospc, "enospc"}}};

Result<OnError> ParseOnError(const verbs::Arguments& arguments) {
  const std::optional<std::string> word = arguments.Text("on-error");
  if (!word) return OnError::kReport;
  for (const auto& [policy, name] : kPolicies) {
    if (name == *word) return policy;
  }
  return Fail(
      ErrorKind::kInvalidArgument,
      fmt::format("on-error={} is not one of report, ignore, stop, enospc", EscapeText(*word)));
}

}  // namespace

std::string_view OnErrorName(OnError policy) {
  for (const auto& [value, name] : kPolicies) {
    if (value == policy) return name;
  }
  return {};
}

Status CheckNewJobId(std::string_view id) {
  Status checked = verbs::CheckJobId(id);
  if (!checked) checked.error().message = EscapeText(checked.error().message);
  return checked;
}

Result<JobOptions> ParseJobOptions(const verbs::Arguments& arguments) {
  JobOptions options;
  options.id = arguments.Text("id").value_or("");
  if (arguments.Has("id")) CHAINFS_TRY(CheckNewJobId(options.id));
  CHAINFS_ASSIGN(const std::optional<uint64_t> speed, arguments.Size("speed"));
  options.speed = speed.value_or(0);
  CHAINFS_ASSIGN(options.on_error, ParseOnError(arguments));
  CHAINFS_ASSIGN(options.generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(options.dry_run, arguments.Switch("dry-run", false));
  return options;
}

}  // namespace chainfs::jobs
