// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_jobs.h"

#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;
using Align = Table::Align;

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

Result<ExitCode> ListJobs(const std::optional<std::string>& place, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::vector<MountJobs> all, CollectJobs(place));
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
  if (common.quiet) {
    Print(ids);
  } else {
    Print(table.empty() ? "no jobs\n" : table.Render(Painter::For(stdout)));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow JobsVerb() {
  return {.name = "jobs",
          .help = "List the jobs of a disk or mount (default: of all mounts)",
          .examples =
              "chainctl jobs\n"
              "chainctl jobs -q vm1.raw\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto place = std::make_shared<std::optional<std::string>>();
            verb.add_option("PLACE", *place, "Mounted file or mount point (-q prints only ids)");
            return [place](const CommonOptions& common) { return ListJobs(*place, common); };
          }};
}

}  // namespace chainfs::chainctl
