// SPDX-License-Identifier: Apache-2.0
//
// jobs, wait, cancel, pause, resume, dismiss, speed. Verbs without an ID ask for the newest job
// once and then name it, so that a job started meanwhile is not hit by mistake.
#include <fmt/core.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "ctl/command_value.h"
#include "ctl/json_access.h"
#include "ctl/output.h"
#include "ctl/size.h"
#include "ctl/waiting.h"

namespace chainfs {
namespace {

using nlohmann::json;
using Align = Table::Align;

struct Target {
  DiskPath disk;
  std::string id;
};

Result<Target> FindJob(const JobOptions& options) {
  CHAINFS_TRY(CheckJobId(options.id));
  CHAINFS_ASSIGN(DiskPath disk, FindDisk(options.disk));
  std::string id;
  if (options.id) {
    id = *options.id;
  } else {
    CHAINFS_ASSIGN(const JobReport newest, ReadJob(disk, ""));
    id = newest.id;
  }
  return Target{.disk = std::move(disk), .id = std::move(id)};
}

// The jobs of a mount: all of them from the file, or what fits into the attribute where the file is
// not readable for the caller.
Result<json> JobsOfMount(const std::string& mount) {
  Result<json> all = ReadJsonFile(mount, "jobs.json");
  if (all) return ArrayOf(*all, "jobs");
  if (all.error().sys_errno != EACCES) return all;
  return ReadJsonAttribute(mount, "jobs");
}

Result<json> CollectJobs(const std::optional<std::string>& place) {
  if (place) {
    if (const Result<DiskPath> disk = FindDisk(*place)) {
      return ReadJsonAttribute(disk->path, "jobs");
    }
  }
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, MountsOrAll(place));
  json jobs = json::array();
  for (const std::string& mount : mounts) {
    Result<json> some = JobsOfMount(mount);
    if (!some) {
      if (mounts.size() == 1) return some;
      Note("jobs: " + some.error().message);
      continue;
    }
    for (json& job : *some) jobs.push_back(std::move(job));
  }
  return jobs;
}

Colour ColourOf(const JobReport& job) {
  if (!job.concluded()) return job.status == "paused" ? Colour::kYellow : Colour::kCyan;
  if (job.cancelled) return Colour::kDim;
  return job.error ? Colour::kRed : Colour::kGreen;
}

std::string OutcomeOf(const JobReport& job) {
  if (!job.concluded()) return job.status;
  if (job.cancelled) return "cancelled";
  return job.error ? "failed" : "done";
}

void AddRow(Table& table, const JobReport& job) {
  std::string note;
  if (job.error && !job.cancelled) note = *job.error;
  if (!job.concluded() && job.speed > 0) note = "limit " + FormatRate(job.speed);
  const bool running = job.status == "running";
  table.AddRow({job.disk, job.id, job.type, Table::Cell(OutcomeOf(job), ColourOf(job)),
                fmt::format("{:.1f}%", job.percent()),
                fmt::format("{}/{}", FormatSize(job.current), FormatSize(job.total)),
                running && job.rate > 0 ? FormatRate(job.rate) : "",
                running && job.eta ? FormatDuration(*job.eta) : "", note});
}

// After a verb that takes effect at once: what the job looks like now.
ExitCode ReportVerb(const Target& target, const std::string& done, const CommonOptions& common) {
  if (common.json) {
    const Result<JobReport> job = ReadJob(target.disk, target.id);
    Print(job ? job->raw + "\n" : OneLine({{"id", target.id}}) + "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: {} {}\n", target.disk.shown, target.id, done));
  }
  return ExitCode::kDone;
}

}  // namespace

Result<ExitCode> RunJobs(const JobsOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const json jobs, CollectJobs(options.place));
  if (common.json) {
    Print(OneLine({{"jobs", jobs}}) + "\n");
    return ExitCode::kDone;
  }
  Table table;
  table.AddColumn("DISK")
      .AddColumn("ID")
      .AddColumn("TYPE")
      .AddColumn("STATUS")
      .AddColumn("DONE", Align::kRight)
      .AddColumn("PROGRESS")
      .AddColumn("RATE", Align::kRight)
      .AddColumn("ETA", Align::kRight)
      .AddColumn("NOTE");
  std::string ids;
  for (const json& entry : jobs) {
    const JobReport job = JobFromJson(entry);
    if (job.id.empty()) continue;  // {"truncated":true}
    ids += job.id + "\n";
    AddRow(table, job);
  }
  if (options.ids_only) {
    Print(ids);
  } else {
    Print(table.empty() ? "no jobs\n" : table.Render(Painter::For(stdout)));
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunWait(const JobOptions& options, const CommonOptions& common) {
  WaitSignals signals;
  CHAINFS_ASSIGN(const Target target, FindJob(options));
  return WaitAndReport("wait", target.disk, target.id, signals, options.waiting, common);
}

Result<ExitCode> RunCancel(const JobOptions& options, const CommonOptions& common) {
  WaitSignals signals;
  CHAINFS_ASSIGN(const Target target, FindJob(options));
  CHAINFS_TRY(Send(target.disk, {.verb = "cancel",
                                 .value = CommandValue().Add("id", target.id).text(),
                                 .verbose = common.verbose}));
  if (options.waiting.background) return ReportVerb(target, "is stopping", common);
  CHAINFS_ASSIGN(
      const WaitOutcome outcome,
      WaitForJob(target.disk, target.id, signals,
                 {.timeout = options.waiting.timeout,
                  .progress = {.quiet = common.quiet, .percent_fd = options.waiting.progress_fd}}));
  if (outcome.end != WaitEnd::kConcluded) {
    Note(fmt::format("cancel: {}: {} is still {}", target.disk.shown, target.id,
                     outcome.job.status));
    return ExitCode::kStillRunning;
  }
  // That it was cancelled is success here.
  return ReportVerb(target, outcome.job.cancelled ? "cancelled" : "had ended already", common);
}

Result<ExitCode> RunJobVerb(const std::string& verb, const JobOptions& options,
                            const CommonOptions& common) {
  CHAINFS_ASSIGN(const Target target, FindJob(options));
  CHAINFS_TRY(Send(target.disk, {.verb = verb,
                                 .value = CommandValue().Add("id", target.id).text(),
                                 .verbose = common.verbose}));
  const std::string done = verb == "pause" ? "paused" : verb == "resume" ? "resumed" : "dismissed";
  return ReportVerb(target, done, common);
}

Result<ExitCode> RunSpeed(const JobOptions& options, const std::string& limit,
                          const CommonOptions& common) {
  CHAINFS_ASSIGN(const uint64_t bytes, ParseSize(limit));
  CHAINFS_ASSIGN(const Target target, FindJob(options));
  CHAINFS_TRY(
      Send(target.disk,
           {.verb = "speed",
            .value = CommandValue().Add("id", target.id).Add("limit", std::to_string(bytes)).text(),
            .verbose = common.verbose}));
  return ReportVerb(target, bytes == 0 ? "has no limit" : "limited to " + FormatRate(bytes),
                    common);
}

}  // namespace chainfs
