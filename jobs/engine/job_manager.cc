// SPDX-License-Identifier: Apache-2.0
//
// The commands: stream, snapshot, and what a daemon finds when it starts. The list of jobs is in
// job_manager_list.cc.
#include "jobs/engine/job_manager.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/verbs/job_id.h"
#include "jobs/engine/cursor_source.h"
#include "jobs/engine/job_manager_impl.h"
#include "jobs/engine/job_manager_reservation.h"
#include "jobs/stream/space_check.h"
#include "jobs/stream/stream_work.h"

namespace chainfs::jobs {
namespace {

constexpr int kPlanAttempts = 3;
constexpr int kIdAttempts = 1000;

// A job whose work was done before it was announced.
class NoWork final : public ChunkWork {
 public:
  WorkSource& source() override { return nothing_; }
  uint64_t unit() const override { return 1; }
  uint64_t chunk_size() const override { return 1; }
  ChunkResult Process(uint64_t /*offset*/, uint64_t /*length*/) override { return 0; }

 private:
  CursorSource nothing_{0};
};

Status CheckId(std::string_view id) {
  Status checked = id.empty() ? Status() : verbs::CheckJobId(id);
  if (!checked) checked.error().message = EscapeText(checked.error().message);
  return checked;
}

JobRecord RecordOf(const StreamRequest& request, const std::string& id, const StreamPlan& plan) {
  JobRecord record;
  record.id = id;
  record.type = "stream";
  record.disk = request.disk;
  record.top = plan.top->path;
  if (plan.base) record.base = plan.base->path;
  record.speed = request.speed;
  record.on_error = request.on_error;
  record.remove = request.remove;
  return record;
}

}  // namespace

JobSettings SettingsOf(const JobRecord& record, std::optional<std::string> warning) {
  return {
      .id = record.id,
      .type = record.type,
      .disk = record.disk,
      .on_error = record.on_error,
      .parameters = {.speed = record.speed, .paused = record.paused, .progress = record.progress},
      .warning = std::move(warning)};
}

Result<DiskPtr> JobManager::Impl::FindDisk(const std::string& name,
                                           std::optional<uint64_t> generation) const {
  DiskPtr disk = catalog_.Find(name);
  if (!disk)
    return Fail(ErrorKind::kNotFound, EscapeText(fmt::format("there is no disk {}", name)));
  const uint64_t now = disk->chain()->generation;
  if (generation && *generation != now) {
    return Fail(ErrorKind::kStale,
                fmt::format("the chain of {} has changed: its generation is {}, not {}; look at "
                            "the chain again",
                            name, now, *generation));
  }
  return disk;
}

// Plans, reserves what the plan names, and makes sure that the chain was still the same when the
// reservation began to protect it.
Result<StreamPlan> JobManager::Impl::ReserveStream(const Disk& disk, const StreamRequest& request,
                                                   Reservation& reservation, bool taken_up) {
  for (int attempt = 0; attempt < kPlanAttempts; ++attempt) {
    CHAINFS_ASSIGN(StreamPlan plan, PlanStream(catalog_, disk, request.top, request.base));
    Wanted wanted{.disk = request.disk,
                  .id = request.id,
                  .type = "stream",
                  .queues = true,
                  .taken_up = taken_up};
    if (!request.dry_run) wanted.plan = plan;
    CHAINFS_TRY(Reserve(std::move(wanted), reservation));
    CHAINFS_ASSIGN(const StreamPlan again, PlanStream(catalog_, disk, request.top, request.base));
    if (SameLayers(plan, again)) return plan;
    reservation.GiveBack();
  }
  return Fail(ErrorKind::kBusy,
              fmt::format("the chain of {} keeps changing; try again", request.disk));
}

Result<std::string> JobManager::Impl::StartStream(const DiskPtr& disk,
                                                  const StreamRequest& request) {
  Reservation reservation(*this);
  CHAINFS_ASSIGN(StreamPlan plan, ReserveStream(*disk, request, reservation));
  JobRecord record = RecordOf(request, reservation.id(), plan);
  if (request.dry_run) {
    // It copies nothing that a limit could hold back, and nobody would resume it.
    record.speed = 0;
    record.on_error = OnError::kReport;
  }
  std::optional<std::string> warning = SpaceWarning(plan);
  std::unique_ptr<ChunkWork> work;
  if (request.dry_run) {
    LeftOutLayers left_out{
        .unneeded = catalog_.Unneeded(*plan.top, plan.between), .removed = {}, .problem = {}};
    work = std::make_unique<StreamEstimate>(disk, std::move(plan), std::move(left_out));
  } else {
    auto stream = std::make_unique<StreamWork>(catalog_, disk, std::move(plan), record, false);
    CHAINFS_TRY(stream->Prepare());
    work = std::move(stream);
    if (warning) spdlog::warn("job {} of disk {}: {}", record.id, record.disk, *warning);
  }
  reservation.Accept(MakeRun(reservation, SettingsOf(record, std::move(warning)), std::move(work)));
  return record.id;
}

Result<std::string> JobManager::Impl::Stream(const StreamRequest& request) {
  CHAINFS_TRY(CheckId(request.id));
  CHAINFS_ASSIGN(const DiskPtr disk, FindDisk(request.disk, request.generation));
  if (catalog_.options().read_only && !request.dry_run) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  for (int attempt = 1;; ++attempt) {
    Result<std::string> id = StartStream(disk, request);
    if (id) StartQueued();
    const bool name_taken = !id && id.error().kind == ErrorKind::kExists && request.id.empty();
    // A record that we do not know of (not trusted, or another daemon's) has the name that we gave.
    if (!name_taken || attempt == kIdAttempts) return id;
  }
}

Status JobManager::Impl::Snapshot(const SnapshotCommand& command) {
  CHAINFS_TRY(CheckId(command.id));
  CHAINFS_ASSIGN(const DiskPtr disk, FindDisk(command.disk, command.generation));
  if (catalog_.options().read_only && !command.dry_run) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  Reservation reservation(*this);
  CHAINFS_TRY(Reserve({.disk = command.disk, .id = command.id, .type = "snapshot"}, reservation));
  if (command.dry_run) {
    CHAINFS_TRY(catalog_.PlanSnapshot(disk, command.request));
  } else {
    CHAINFS_TRY(catalog_.Snapshot(disk, command.request));
  }
  if (command.id.empty()) return {};
  const std::shared_ptr<JobRun> run =
      MakeRun(reservation, {.id = command.id, .type = "snapshot", .disk = command.disk},
              std::make_unique<NoWork>());
  reservation.Accept(run);
  run->RunToEndHere();
  return {};
}

Status JobManager::Impl::Revert(const RevertCommand& command) {
  CHAINFS_ASSIGN(const DiskPtr disk, FindDisk(command.disk, std::nullopt));
  Reservation reservation(*this);
  CHAINFS_TRY(
      Reserve({.disk = command.disk, .id = {}, .type = "revert", .alone = true}, reservation));
  // From here on nobody changes the chain.
  CHAINFS_TRY(FindDisk(command.disk, command.generation));
  CHAINFS_ASSIGN(const LayerPtr to, catalog_.FindLayer(*disk, command.to));
  CHAINFS_ASSIGN(const LeftOutLayers dropped,
                 catalog_.Revert(disk, *to, command.anywhere, command.dry_run));
  if (command.dry_run) return {};
  spdlog::info("disk {} was reverted to {}; {} layers removed", command.disk, to->path,
               dropped.removed.size());
  if (!dropped.problem.empty()) {
    spdlog::warn("disk {}: a layer that it was reverted from is not removed yet: {}", command.disk,
                 dropped.problem);
  }
  return {};
}

JobManager::JobManager(Catalog& catalog, EventLog& events, JobManagerOptions options)
    : impl_(std::make_unique<Impl>(catalog, events, std::move(options))) {}

JobManager::~JobManager() { Shutdown(); }

void JobManager::ResumeRecorded() { impl_->ResumeRecorded(); }

Result<std::string> JobManager::Stream(const StreamRequest& request) {
  return impl_->Stream(request);
}

Status JobManager::Snapshot(const SnapshotCommand& command) { return impl_->Snapshot(command); }

Status JobManager::Revert(const RevertCommand& command) { return impl_->Revert(command); }

void JobManager::RetryRecorded() { impl_->RetryWaiting(); }

Status JobManager::Cancel(std::string_view disk, std::string_view id) {
  if (impl_->IsWaiting(disk, id)) return impl_->DropWaiting(disk, id);
  CHAINFS_ASSIGN(const std::shared_ptr<JobRun> run, impl_->ForVerb(disk, id));
  return run->Cancel();
}

Status JobManager::Pause(std::string_view disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<JobRun> run, impl_->ForVerb(disk, id));
  return run->Pause();
}

Status JobManager::Resume(std::string_view disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<JobRun> run, impl_->ForVerb(disk, id));
  return run->Resume();
}

Status JobManager::SetSpeed(std::string_view disk, std::string_view id, uint64_t bytes_per_second) {
  CHAINFS_ASSIGN(const std::shared_ptr<JobRun> run, impl_->ForVerb(disk, id));
  return run->SetSpeed(bytes_per_second);
}

Status JobManager::Dismiss(std::string_view disk, std::string_view id) {
  if (impl_->IsWaiting(disk, id)) return impl_->DropWaiting(disk, id);
  return impl_->Dismiss(disk, id);
}

std::vector<JobInfo> JobManager::Jobs(std::string_view disk) const { return impl_->Jobs(disk); }

std::optional<JobInfo> JobManager::Find(std::string_view disk, std::string_view id) const {
  if (const std::shared_ptr<JobRun> run = impl_->FindRun(disk, id)) return run->Info();
  return impl_->FindWaiting(disk, id);
}

void JobManager::Shutdown() { impl_->Shutdown(); }

}  // namespace chainfs::jobs
