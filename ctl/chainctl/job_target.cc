// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/job_target.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/verbs/job_id.h"

namespace chainfs::chainctl {

void AddJob(CLI::App& verb, std::string_view command, JobOptions& options) {
  verb.add_option("DISK", options.disk, "Mounted file; the mount point if ID's disk is not shown")
      ->required();
  const verbs::Key* const id = verbs::FindKey(CommandOf(command).keys, "id");
  verb.add_option("ID", options.id, fmt::format("{} (default: {})", id->help, id->otherwise));
}

std::unexpected<Error> FailNoJob(const DiskPath& disk, const std::vector<JobReport>& jobs) {
  return FailMounted(ESRCH, jobs.empty() ? disk.shown + ": no job has run on this disk"
                                         : "no unfinished job on " + disk.shown);
}

Result<DiskPath> FindJobPlace(const JobOptions& options) {
  Result<DiskPath> disk = FindDisk(options.disk);
  if (disk || !options.id) return disk;
  std::error_code failed;
  const std::string real = std::filesystem::canonical(options.disk, failed).string();
  if (failed || !ReadAttribute(real, "version")) return disk;
  return DiskPath{.path = real, .mount = real, .shown = options.disk};
}

Result<JobTarget> FindJob(const JobOptions& options) {
  CHAINFS_TRY(CheckTypedId(options.id));
  CHAINFS_ASSIGN(DiskPath disk, FindJobPlace(options));
  if (options.id) return JobTarget{.disk = std::move(disk), .id = *options.id};
  CHAINFS_ASSIGN(const std::vector<JobReport> jobs, ReadJobs(disk));
  const std::optional<JobReport> job = NewestUnfinished(jobs);
  if (!job) return FailNoJob(disk, jobs);
  return JobTarget{.disk = std::move(disk), .id = job->id};
}

Result<JobTarget> FindFinishedJob(const JobOptions& options) {
  if (options.id) return FindJob(options);
  CHAINFS_ASSIGN(DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const std::vector<JobReport> jobs, ReadJobs(disk));
  const auto job = std::ranges::find_if(jobs, &JobReport::concluded);
  if (job == jobs.end()) return FailMounted(ESRCH, "no finished job on " + disk.shown);
  return JobTarget{.disk = std::move(disk), .id = job->id};
}

Status SendToJob(const JobTarget& target, const std::string& command, const CommonOptions& common) {
  return Send(target.disk, {.verb = command,
                            .value = verbs::Arguments().Set("id", target.id).Format(),
                            .verbose = common.verbose});
}

ExitCode ReportVerb(const JobTarget& target, const std::string& done, const CommonOptions& common) {
  if (common.json) {
    const Result<JobReport> job = ReadJob(target.disk, target.id);
    Print(job ? job->raw + "\n" : OneLine({{"id", target.id}}) + "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: {} {}\n", target.disk.shown, target.id, done));
  }
  return ExitCode::kDone;
}

Status CheckTypedId(const std::optional<std::string>& id) {
  Status checked = id ? verbs::CheckJobId(*id) : Status();
  if (!checked) checked.error().message = SafeText(checked.error().message);
  return checked;
}

}  // namespace chainfs::chainctl
