// SPDX-License-Identifier: Apache-2.0
//
// jobs, wait, cancel, pause, resume, dismiss, speed. A verb without ID looks once which job is the
// newest that has not finished (dismiss: that has), and then names it, so that a job started
// meanwhile is not hit by mistake.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/command_value.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;
using Align = Table::Align;

struct Target {
  DiskPath disk;
  std::string id;
};

std::unexpected<Error> FailNoJob(const DiskPath& disk, const std::vector<JobReport>& jobs) {
  return FailMounted(ESRCH, jobs.empty() ? disk.shown + ": no job has run on this disk"
                                         : "no unfinished job on " + disk.shown);
}

Result<Target> FindJob(const JobOptions& options) {
  CHAINFS_TRY(CheckJobId(options.id));
  CHAINFS_ASSIGN(DiskPath disk, FindDisk(options.disk));
  if (options.id) return Target{.disk = std::move(disk), .id = *options.id};
  CHAINFS_ASSIGN(const std::vector<JobReport> jobs, ReadJobs(disk));
  const std::optional<JobReport> job = NewestUnfinished(jobs);
  if (!job) return FailNoJob(disk, jobs);
  return Target{.disk = std::move(disk), .id = job->id};
}

Result<Target> FindFinishedJob(const JobOptions& options) {
  if (options.id) return FindJob(options);
  CHAINFS_ASSIGN(DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const std::vector<JobReport> jobs, ReadJobs(disk));
  const auto job = std::ranges::find_if(jobs, &JobReport::concluded);
  if (job == jobs.end()) return FailMounted(ESRCH, "no finished job on " + disk.shown);
  return Target{.disk = std::move(disk), .id = job->id};
}

// The jobs of a mount: all of them from the file, or what fits into the attribute where the file is
// not readable for the caller.
Result<json> JobsOfMount(const std::string& mount) {
  Result<json> all = ReadJsonFile(mount, "jobs.json");
  if (all) return ArrayOf(*all, "jobs");
  if (all.error().sys_errno != EACCES) return all;
  return ReadJsonAttribute(mount, "jobs");
}

struct MountJobs {
  std::string mount;
  json jobs;
};

Result<std::vector<MountJobs>> CollectJobs(const std::optional<std::string>& place) {
  if (place) {
    if (const Result<DiskPath> disk = FindDisk(*place)) {
      CHAINFS_ASSIGN(json jobs, ReadJsonAttribute(disk->path, "jobs"));
      return std::vector<MountJobs>{{.mount = disk->mount, .jobs = std::move(jobs)}};
    }
  }
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, MountsOrAll(place));
  std::vector<MountJobs> all;
  for (const std::string& mount : mounts) {
    Result<json> jobs = JobsOfMount(mount);
    if (!jobs) {
      if (place) return std::unexpected(jobs.error());
      if (!IsOutOfSight(jobs.error())) Note("jobs: " + jobs.error().message);
      continue;
    }
    all.push_back({.mount = mount, .jobs = std::move(*jobs)});
  }
  return all;
}

Colour ColourOf(const JobReport& job) {
  if (!job.concluded()) return job.status == "paused" ? Colour::kYellow : Colour::kCyan;
  if (job.cancelled) return Colour::kDim;
  return job.error ? Colour::kRed : Colour::kGreen;
}

std::string OutcomeOf(const JobReport& job) {
  if (job.dry_run && job.concluded() && !job.error) return "estimate";
  if (!job.concluded()) return job.status;
  if (job.cancelled) return "cancelled";
  return job.error ? "failed" : "done";
}

void AddRow(Table& table, const JobReport& job, const std::string& mount) {
  std::string note;
  const std::string disk = fmt::format("{}/{}.raw", mount, job.disk);
  if (job.waits_to_be_taken_up() && access(disk.c_str(), F_OK) != 0) {
    // Verbs need a disk; the attribute of the mount does not.
    note = fmt::format("{}; it begins by itself, or: setfattr -n user.chainfs.cancel -v id={} {}",
                       *job.error, job.id, mount);
  } else if (job.paused_by_error() || job.waits_to_be_taken_up()) {
    note = AdviceFor(job, disk);
  } else if (job.error && !job.cancelled) {
    note = *job.error;
  } else if (!job.concluded() && job.speed > 0) {
    note = "limit " + FormatRate(job.speed);
  }
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
  CHAINFS_ASSIGN(const std::vector<MountJobs> all, CollectJobs(options.place));
  if (common.json) {
    json jobs = json::array();
    for (const MountJobs& part : all) jobs.insert(jobs.end(), part.jobs.begin(), part.jobs.end());
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
  for (const MountJobs& part : all) {
    for (const json& entry : part.jobs) {
      const JobReport job = JobFromJson(entry);
      if (job.id.empty()) continue;  // {"truncated":true}
      ids += job.id + "\n";
      AddRow(table, job, part.mount);
    }
  }
  if (options.ids_only) {
    Print(ids);
  } else {
    Print(table.empty() ? "no jobs\n" : table.Render(Painter::For(stdout)));
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunWait(const JobOptions& options, const CommonOptions& common) {
  CHAINFS_TRY(CheckJobId(options.id));
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  std::optional<std::string> id = options.id;
  if (!id) {
    CHAINFS_ASSIGN(const std::vector<JobReport> jobs, ReadJobs(disk));
    if (const std::optional<JobReport> job = NewestUnfinished(jobs)) {
      id = job->id;
    } else if (const std::optional<JobReport> last = LastFinished(jobs)) {
      if (!common.quiet) Note(fmt::format("wait: no unfinished job on {}", disk.shown));
      return ReportEnd("wait", disk, *last, common);
    } else {
      return FailNoJob(disk, jobs);
    }
  }
  WaitSignals signals;
  return WaitAndReport("wait", disk, *id, signals, OnInterrupt::kDetach, options.waiting, common);
}

Result<ExitCode> RunCancel(const JobOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const Target target, FindJob(options));
  CHAINFS_TRY(Send(target.disk, {.verb = "cancel",
                                 .value = CommandValue().Add("id", target.id).text(),
                                 .verbose = common.verbose}));
  if (options.waiting.background) return ReportVerb(target, "is stopping", common);
  WaitSignals signals;
  const Result<WaitOutcome> waited =
      WaitForJob(target.disk, target.id, signals,
                 {.timeout = options.waiting.timeout,
                  .on_interrupt = OnInterrupt::kDetach,
                  .progress = {.quiet = common.quiet, .percent_fd = options.waiting.progress_fd}});
  // One that had only waited to be taken up leaves nothing behind.
  if (!waited && waited.error().sys_errno == ESRCH) return ReportVerb(target, "cancelled", common);
  CHAINFS_TRY(waited);
  const WaitOutcome& outcome = *waited;
  if (outcome.end != WaitEnd::kConcluded) {
    Note(fmt::format("cancel: {}: {} is still {}", target.disk.shown, target.id,
                     outcome.job.status));
    return ExitCode::kStillRunning;
  }
  // That it was cancelled is success here.
  return ReportVerb(target, outcome.job.cancelled ? "cancelled" : "had already finished", common);
}

Result<ExitCode> RunJobVerb(const std::string& verb, const JobOptions& options,
                            const CommonOptions& common) {
  CHAINFS_ASSIGN(const Target target,
                 verb == "dismiss" ? FindFinishedJob(options) : FindJob(options));
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

}  // namespace chainfs::chainctl
