// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/job_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "jobs/job_types.h"

namespace chainfs::qmp {
namespace {

using Json = nlohmann::ordered_json;
using jobs::JobInfo;
using jobs::JobStatus;
using jobs::JobVerb;

// What a missing job is called: the older commands have a class of their own for it.
enum class Family : unsigned char { kJob, kBlockJob };

// As QEMU would list it: no dry run, no short command.
bool IsListed(const JobInfo& job) {
  return !job.dry_run && jobs::FindJobType(jobs::JobTypes(), job.type) != nullptr;
}

std::expected<JobInfo, QmpError> Find(Client& client, const std::string& id, Family family) {
  std::optional<JobInfo> job = client.started.Find(id);
  if (job && IsListed(*job)) return *std::move(job);
  if (family == Family::kJob) return Refuse("Job not found");
  return Refuse(fmt::format("Block job '{}' not found", id), kDeviceNotActive);
}

std::string_view WordOf(JobVerb verb) { return jobs::JobVerbName(verb); }

QmpStatus CheckVerb(const JobInfo& job, JobVerb verb) {
  if (jobs::JobVerbAllowed(verb, job.status)) return {};
  return Refuse(fmt::format("Job '{}' in state '{}' cannot accept command verb '{}'", job.id,
                            jobs::JobStatusName(job.status), WordOf(verb)));
}

bool IsPaused(const JobInfo& job) {
  return job.status == JobStatus::kPaused || job.status == JobStatus::kStandby;
}

// QEMU's wording for what the state table permits and the job refuses.
std::string_view RefusalOf(JobVerb verb) {
  if (verb == JobVerb::kPause) return "Job is already paused";
  if (verb == JobVerb::kResume) return "Can't resume a job that was not paused";
  return "";
}

Answer Give(Client& client, const std::string& id, Family family, JobVerb verb) {
  CHAINFS_ASSIGN(const JobInfo job, Find(client, id, family));
  CHAINFS_TRY(CheckVerb(job, verb));
  verbs::Arguments arguments;
  arguments.Set("id", id);
  // Said, so that the next daemon knows it, too.
  const bool pivots = job.type == "mirror" || job.type == "commit";
  if (verb == JobVerb::kComplete && pivots) arguments.Set("then", "pivot");
  const Status done = client.OrderJob(WordOf(verb), arguments, job);
  if (!done) {
    const std::string_view said = RefusalOf(verb);
    if (done.error().kind == ErrorKind::kInvalidArgument && !said.empty()) {
      return Refuse(std::string(said));
    }
    return std::unexpected(done.error());
  }
  return Json::object();
}

Answer GiveTo(Client& client, Parameters& parameters, Family family, JobVerb verb,
              std::string_view parameter) {
  const std::string id = parameters.Text(parameter);
  CHAINFS_TRY(parameters.Finish());
  return Give(client, id, family, verb);
}

Answer Dismiss(Client& client, Parameters& parameters, Family family) {
  const std::string id = parameters.Text("id");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const JobInfo job, Find(client, id, family));
  CHAINFS_TRY(CheckVerb(job, JobVerb::kDismiss));
  CHAINFS_TRY(client.OrderJob("dismiss", verbs::Arguments().Set("id", id), job));
  PublishDismissed(client.plane.events, id, job.disk);
  return Json::object();
}

// Jobs here finalize themselves, so none ever waits for it.
Answer Finalize(Client& client, Parameters& parameters, Family family) {
  const std::string id = parameters.Text("id");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const JobInfo job, Find(client, id, family));
  CHAINFS_TRY(CheckVerb(job, JobVerb::kFinalize));
  return Json::object();
}

void AddError(const JobInfo& job, Json* out) {
  if (!job.error) return;
  (*out)["error"] = job.cancelled ? "Operation canceled" : *job.error;
}

Json BlockJobJson(const JobInfo& job, bool auto_dismiss) {
  Json out = {{"type", job.type},
              {"device", job.id},
              {"len", job.total_progress},
              {"offset", job.current_progress},
              {"busy", job.status == JobStatus::kRunning},
              {"paused", IsPaused(job)},
              {"speed", job.speed},
              {"io-status", job.io_status},
              {"ready", job.status == JobStatus::kReady || job.status == JobStatus::kStandby},
              {"status", jobs::JobStatusName(job.status)},
              {"auto-finalize", true},
              {"auto-dismiss", auto_dismiss}};
  AddError(job, &out);
  return out;
}

}  // namespace

std::vector<JobInfo> ListedJobs(Client& client) {
  std::vector<JobInfo> listed = client.started.Jobs();
  std::erase_if(listed, [](const JobInfo& job) { return !IsListed(job); });
  std::ranges::reverse(listed);
  return listed;
}

Answer QueryJobs(Client& client, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  Json list = Json::array();
  for (const JobInfo& job : ListedJobs(client)) {
    Json out = {{"id", job.id},
                {"type", job.type},
                {"status", jobs::JobStatusName(job.status)},
                {"current-progress", job.current_progress},
                {"total-progress", job.total_progress}};
    AddError(job, &out);
    list.push_back(std::move(out));
  }
  return list;
}

Answer QueryBlockJobs(Client& client, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  Json list = Json::array();
  for (const JobInfo& job : ListedJobs(client)) {
    list.push_back(BlockJobJson(job, client.started.GoesByItself(job)));
  }
  return list;
}

Answer JobPause(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kJob, JobVerb::kPause, "id");
}

Answer JobResume(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kJob, JobVerb::kResume, "id");
}

Answer JobCancel(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kJob, JobVerb::kCancel, "id");
}

Answer JobComplete(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kJob, JobVerb::kComplete, "id");
}

Answer JobDismiss(Client& client, Parameters& parameters) {
  return Dismiss(client, parameters, Family::kJob);
}

Answer JobFinalize(Client& client, Parameters& parameters) {
  return Finalize(client, parameters, Family::kJob);
}

Answer BlockJobPause(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kBlockJob, JobVerb::kPause, "device");
}

Answer BlockJobResume(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kBlockJob, JobVerb::kResume, "device");
}

Answer BlockJobCancel(Client& client, Parameters& parameters) {
  const std::string id = parameters.Text("device");
  const bool force = parameters.Switch("force", false);
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const JobInfo job, Find(client, id, Family::kBlockJob));
  if (IsPaused(job) && !force) {
    return Refuse(fmt::format("The block job for device '{}' is currently paused", id));
  }
  // To end a copy that is ready is to keep it, as it is at that moment.
  if (job.type == "mirror" && job.status == JobStatus::kReady && !force) {
    CHAINFS_TRY(
        client.OrderJob("complete", verbs::Arguments().Set("id", id).Set("then", "keep"), job));
    return Json::object();
  }
  return Give(client, id, Family::kBlockJob, JobVerb::kCancel);
}

Answer BlockJobComplete(Client& client, Parameters& parameters) {
  return GiveTo(client, parameters, Family::kBlockJob, JobVerb::kComplete, "device");
}

Answer BlockJobDismiss(Client& client, Parameters& parameters) {
  return Dismiss(client, parameters, Family::kBlockJob);
}

Answer BlockJobFinalize(Client& client, Parameters& parameters) {
  return Finalize(client, parameters, Family::kBlockJob);
}

Answer BlockJobSetSpeed(Client& client, Parameters& parameters) {
  const std::string id = parameters.Text("device");
  const int64_t speed = parameters.Integer("speed");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const JobInfo job, Find(client, id, Family::kBlockJob));
  if (speed < 0) return Refuse("Parameter 'speed' expects a non-negative value");
  CHAINFS_TRY(CheckVerb(job, JobVerb::kSetSpeed));
  CHAINFS_TRY(client.OrderJob(
      "speed", verbs::Arguments().Set("id", id).Set("limit", std::to_string(speed)), job));
  return Json::object();
}

}  // namespace chainfs::qmp
