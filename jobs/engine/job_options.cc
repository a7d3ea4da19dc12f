// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_options.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/verbs/job_id.h"

namespace chainfs::jobs {
namespace {

constexpr std::array<std::pair<Priority, std::string_view>, 3> kPriorities = {
    {{Priority::kLow, "low"}, {Priority::kNormal, "normal"}, {Priority::kHigh, "high"}}};

}  // namespace

std::string_view PriorityName(Priority priority) {
  for (const auto& [value, name] : kPriorities) {
    if (value == priority) return name;
  }
  return {};
}

Result<std::optional<Priority>> PriorityIn(const verbs::Arguments& arguments) {
  const std::optional<std::string> word = arguments.Text("priority");
  if (!word) return std::nullopt;
  for (const auto& [priority, name] : kPriorities) {
    if (name == *word) return priority;
  }
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("priority={} is not one of low, normal, high", EscapeText(*word)));
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
  CHAINFS_ASSIGN(options.on_error, ParseOnError(arguments.Text("on-error").value_or("report")));
  CHAINFS_ASSIGN(const std::optional<Priority> priority, PriorityIn(arguments));
  options.priority = priority.value_or(options.priority);
  CHAINFS_ASSIGN(options.generation, arguments.Number("generation"));
  CHAINFS_ASSIGN(options.dry_run, arguments.Switch("dry-run", false));
  return options;
}

}  // namespace chainfs::jobs
