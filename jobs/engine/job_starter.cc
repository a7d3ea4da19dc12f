// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_starter.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blocklayer/base/sync_point.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/catalog/snapshot_holders.h"
#include "jobs/engine/chain_generation.h"
#include "jobs/engine/record_file.h"

namespace chainfs::jobs {
namespace {

constexpr int kPlanAttempts = 3;
constexpr int kIdAttempts = 1000;

// What a record says is believed as little as a command.
Status CheckRecordedCommand(const JobType& type, const verbs::Arguments& command) {
  for (const auto& [name, value] : command.items()) {
    const verbs::Key* const key = verbs::FindKey(type.keys, name);
    if (key == nullptr) {
      return Fail(ErrorKind::kUnsupported,
                  fmt::format("its key '{}' is not known to this chainfs", EscapeText(name)));
    }
    CHAINFS_TRY(verbs::CheckValue(*key, value));
  }
  return {};
}

verbs::Arguments CommandToRecord(const JobPlan& plan, const JobCommand& given,
                                 const JobOptions& options) {
  verbs::Arguments command = plan.command;
  if (given.arguments.Has("on-error")) command.Set("on-error", OnErrorName(options.on_error));
  if (given.arguments.Has("priority")) command.Set("priority", PriorityName(options.priority));
  return command;
}

// Whoever waits for the end of a job goes on when its work is gone, so its layers must not live on
// in the plan that the job was started by.
std::unique_ptr<ChunkWork> MakeWork(JobPlan& plan, const std::string& id, bool dry_run) {
  std::unique_ptr<ChunkWork> work = dry_run ? plan.estimate() : plan.work(id);
  plan.claims = {};
  plan.work = nullptr;
  plan.estimate = nullptr;
  return work;
}

void LogWarning(const JobSettings& settings) {
  if (!settings.warning) return;
  spdlog::warn("job {} of disk {}: {}", settings.id, settings.disk, *settings.warning);
}

}  // namespace

Result<DiskPtr> JobStarter::FindDisk(const std::string& name) const {
  DiskPtr disk = catalog_.Find(name);
  if (disk) return disk;
  return Fail(ErrorKind::kNotFound, EscapeText(fmt::format("there is no disk {}", name)));
}

// Its chain may be there under another name: records name layers by their paths.
Result<DiskPtr> JobStarter::DiskOf(const JobRecord& record) const {
  Result<DiskPtr> found = FindDisk(record.disk);
  if (found) return found;
  const auto is_named = [&](const LayerPtr& layer) {
    return std::ranges::any_of(record.command.items(),
                               [&](const auto& item) { return item.second == layer->path; });
  };
  // The own disks of its lower layers show a part of it only.
  DiskPtr whole;
  for (const DiskPtr& disk : catalog_.Disks()) {
    if (whole != nullptr && disk->chain()->depth() <= whole->chain()->depth()) continue;
    if (std::ranges::any_of(disk->chain()->AllLayers(), is_named)) whole = disk;
  }
  std::string way_on = "mount its image by that name again";
  if (whole != nullptr) {
    way_on = fmt::format("its layers are in the chain of {}: mount that as {}={}", whole->name(),
                         record.disk, whole->chain()->active->path);
  }
  return Fail(ErrorKind::kNotFound,
              EscapeText(fmt::format("there is no disk {}; {}, and the job goes on, or cancel it",
                                     record.disk, way_on)));
}

Result<const JobType*> JobStarter::TypeFor(const JobCommand& command) const {
  CHAINFS_ASSIGN(const JobType* const type, TypeOf(command.type));
  CHAINFS_TRY(CheckIsNoSnapshot(*command.disk));
  CHAINFS_ASSIGN(const DiskPtr shown, FindDisk(command.disk->name()));
  if (shown == command.disk) return type;
  // Another one has taken its name; this one has only handles left.
  return Fail(ErrorKind::kNotFound,
              EscapeText(fmt::format("the disk {} is gone", command.disk->name())));
}

Result<const JobType*> JobStarter::TypeOf(const std::string& name) const {
  const JobType* const type = FindJobType(types_, name);
  if (type != nullptr) return type;
  return Fail(ErrorKind::kUnsupported,
              EscapeText(fmt::format("jobs of type '{}' are not known to this chainfs", name)));
}

bool JobStarter::Undoes(std::string_view name) const {
  const JobType* const type = FindJobType(types_, name);
  return type != nullptr && type->undoes;
}

Result<JobStarter::Planned> JobStarter::PlanNew(const JobType& type, const JobCommand& command,
                                                const JobOptions& options) const {
  return Plan(type, command,
              {.disk = command.disk->name(),
               .id = options.id,
               .type = std::string(type.name),
               .priority = options.priority,
               .queues = true},
              options);
}

Result<JobStarter::Planned> JobStarter::Plan(const JobType& type, const JobCommand& command,
                                             const Admission& wanted,
                                             const JobOptions& options) const {
  // A plan for another generation may fail for layers that are gone, which is not the reason that
  // helps. The second time, under the reservation, is the one that counts.
  const auto plan_now = [&]() -> Result<JobPlan> {
    CHAINFS_TRY(CheckGeneration(*command.disk, options.generation));
    return type.plan(catalog_, command);
  };
  for (int attempt = 0; attempt < kPlanAttempts; ++attempt) {
    CHAINFS_ASSIGN(JobPlan plan, plan_now());
    Admission admission = wanted;
    if (!options.dry_run) admission.claims = plan.claims;
    admission.other_disks = plan.other_disks;
    CHAINFS_ASSIGN(Reservation reservation, registry_.Reserve(std::move(admission)));
    CHAINFS_ASSIGN(const JobPlan again, plan_now());
    if (plan.claims == again.claims && plan.other_disks == again.other_disks) {
      return Planned{.plan = std::move(plan), .reservation = std::move(reservation)};
    }
  }
  return Fail(ErrorKind::kBusy,
              fmt::format("the chain of {} keeps changing; try again", wanted.disk));
}

Result<std::string> JobStarter::Estimate(const JobType& type, const JobCommand& command,
                                         const JobOptions& options) {
  CHAINFS_ASSIGN(Planned planned, PlanNew(type, command, options));
  JobSettings settings{.id = planned.reservation.id(),
                       .type = std::string(type.name),
                       .disk = command.disk->name(),
                       .warning = planned.plan.warning};
  std::string id = settings.id;
  // It copies nothing that a limit could hold back, and nobody would resume it.
  std::unique_ptr<ChunkWork> work = MakeWork(planned.plan, id, true);
  Accept(std::move(planned.reservation), std::move(settings), std::move(work), nullptr, nullptr);
  return id;
}

Result<StartingJob> JobStarter::Record(const JobType& type, const JobCommand& command,
                                       const JobOptions& options, const std::string& group) {
  CHAINFS_ASSIGN(Planned planned, PlanNew(type, command, options));
  JobSettings settings{.id = planned.reservation.id(),
                       .type = std::string(type.name),
                       .disk = command.disk->name(),
                       .on_error = options.on_error,
                       .priority = options.priority,
                       .parameters = {.speed = options.speed, .paused = command.paused},
                       .undoes = type.undoes,
                       .warning = planned.plan.warning};
  std::optional<FreezeRequest> freeze = std::exchange(planned.plan.freeze, std::nullopt);
  if (freeze) freeze->id = settings.id;
  std::unique_ptr<ChunkWork> work = MakeWork(planned.plan, settings.id, false);
  CHAINFS_TRY(work->Prepare());
  auto record = std::make_unique<RecordFile>(
      catalog_.records(), command.disk,
      JobRecord{.id = settings.id,
                .type = settings.type,
                .disk = settings.disk,
                .command = CommandToRecord(planned.plan, command, options),
                .privileged = command.privileged,
                .parameters = settings.parameters,
                .group = group});
  if (const Status recorded = record->Create(); !recorded) {
    work->Release();
    return std::unexpected(recorded.error());
  }
  CHAINFS_SYNC_POINT("JobStarter.Record.recorded");
  return StartingJob{.disk = command.disk,
                     .reservation = std::move(planned.reservation),
                     .settings = std::move(settings),
                     .record = std::move(record),
                     .work = std::move(work),
                     .freeze = std::move(freeze)};
}

Result<std::optional<FreezeRequest>> JobStarter::PointOf(const JobCommand& command) const {
  CHAINFS_ASSIGN(const JobType* const type, TypeFor(command));
  CHAINFS_ASSIGN(const JobOptions options, ParseJobOptions(command.arguments));
  CHAINFS_TRY(CheckGeneration(*command.disk, options.generation));
  CHAINFS_ASSIGN(JobPlan plan, type->plan(catalog_, command));
  if (plan.freeze) plan.freeze->id = options.id;
  return std::move(plan.freeze);
}

Result<StartingJob> JobStarter::MakeReady(const JobCommand& command, const std::string& group) {
  CHAINFS_ASSIGN(const JobType* const type, TypeFor(command));
  CHAINFS_ASSIGN(const JobOptions options, ParseJobOptions(command.arguments));
  if (catalog_.options().read_only) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  for (int attempt = 1;; ++attempt) {
    Result<StartingJob> job = Record(*type, command, options, group);
    const bool name_taken = !job && job.error().kind == ErrorKind::kExists && options.id.empty();
    // A record that we do not know of (not trusted, or another daemon's) has the name that we gave.
    if (!name_taken || attempt == kIdAttempts) return job;
  }
}

Result<std::string> JobStarter::Start(const JobCommand& command) {
  CHAINFS_ASSIGN(const JobOptions options, ParseJobOptions(command.arguments));
  if (options.dry_run) {
    CHAINFS_ASSIGN(const JobType* const type, TypeFor(command));
    CHAINFS_ASSIGN(std::string id, Estimate(*type, command, options));
    StartQueued();
    return id;
  }
  CHAINFS_ASSIGN(StartingJob job, MakeReady(command, ""));
  if (const Status begun = Guarded([&] { return job.work->Begin(); }); !begun) {
    GiveUp(std::move(job), begun.error());
    return std::unexpected(begun.error());
  }
  std::string id = job.settings.id;
  Accept(std::move(job));
  StartQueued();
  return id;
}

void JobStarter::Accept(StartingJob job) {
  LogWarning(job.settings);
  Accept(std::move(job.reservation), std::move(job.settings), std::move(job.work),
         std::move(job.record), nullptr);
}

Result<RecordStore::Record> JobStarter::RecordOf(const StartingJob& job) const {
  const std::string name = JobRecordName(job.settings.id);
  CHAINFS_ASSIGN(std::vector<RecordStore::Record> records, catalog_.records().ReadAll(name));
  const auto found = std::ranges::find(records, name, &RecordStore::Record::name);
  if (found != records.end()) return *std::move(found);
  return Fail(ErrorKind::kNotFound, fmt::format("{}: the record is gone", name));
}

void JobStarter::GiveUp(StartingJob job, const Error& reason) {
  const Result<bool> holds = catalog_.moves().HoldsPoint(job.settings.id);
  if (!holds || *holds) {
    // Without the record nobody would ever merge that back.
    (void)job.record->EnterUndo(reason.message);
    LeaveToRecord(std::move(job));
    return;
  }
  job.work->Release();
  job.record->Remove();
}

void JobStarter::LeaveToRecord(StartingJob job) {
  job.work->Release();
  job.work.reset();
  Result<RecordStore::Record> record = RecordOf(job);
  {
    const Reservation given_back = std::move(job.reservation);
  }
  if (record) {
    registry_.AddWaiting(*std::move(record));
  } else {
    spdlog::warn("job {} of disk {} is left to the next daemon: {}", job.settings.id,
                 job.settings.disk, record.error().message);
  }
}

Status JobStarter::SettleGroup(JobRecord& record, const RecordStore::Record& found) const {
  if (record.group.empty()) return {};
  CHAINFS_ASSIGN(const bool happened, catalog_.records().GroupHasHappened(found, record.group));
  if (!happened && !record.undo) {
    record.undo =
        "the transaction that was to start it was interrupted; nothing of it has happened";
  }
  record.group.clear();
  return {};
}

Status JobStarter::TakeUp(JobRecord record, const RecordStore::Record& found) {
  CHAINFS_TRY(SettleGroup(record, found));
  CHAINFS_ASSIGN(const JobType* const type, TypeOf(record.type));
  CHAINFS_TRY(CheckRecordedCommand(*type, record.command));
  CHAINFS_ASSIGN(JobOptions options, ParseJobOptions(record.command));
  // These were for whoever gave the command. It was accepted, and its own work has moved the chain.
  options.generation.reset();
  options.dry_run = false;
  CHAINFS_ASSIGN(const DiskPtr disk, DiskOf(record));
  const JobCommand command{.type = record.type,
                           .disk = disk,
                           .arguments = record.command,
                           .privileged = record.privileged,
                           .taken_up = record.id,
                           .to_undo = record.undo.has_value()};
  CHAINFS_ASSIGN(Planned planned, Plan(*type, command,
                                       {.disk = record.disk,
                                        .id = record.id,
                                        .type = record.type,
                                        .priority = options.priority,
                                        .queues = true,
                                        .taken_up = true},
                                       options));
  std::unique_ptr<ChunkWork> work = MakeWork(planned.plan, record.id, false);
  CHAINFS_TRY(work->Prepare());
  auto file = std::make_unique<RecordFile>(catalog_.records(), disk, record);
  Status begun = file->Renew();
  if (begun) begun = Guarded([&] { return work->Begin(); });
  if (!begun) {
    work->Release();
    return begun;
  }
  spdlog::info("job {} of disk {} is taken up again", record.id, record.disk);
  JobSettings settings{.id = record.id,
                       .type = record.type,
                       .disk = record.disk,
                       .on_error = options.on_error,
                       .priority = options.priority,
                       .parameters = record.parameters,
                       .undoes = type->undoes,
                       .undo = record.undo,
                       .warning = planned.plan.warning};
  LogWarning(settings);
  Accept(std::move(planned.reservation), std::move(settings), std::move(work), std::move(file),
         &found);
  StartQueued();
  return {};
}

void JobStarter::Accept(Reservation reservation, JobSettings settings,
                        std::unique_ptr<ChunkWork> work, std::unique_ptr<JobRecorder> recorder,
                        const RecordStore::Record* found) {
  const uint64_t sequence = reservation.sequence();
  settings.sequence = sequence;
  JobRunHooks hooks = hooks_;
  hooks.released = [this, sequence] { registry_.LayersReleased(sequence); };
  hooks.concluded = [this, sequence] {
    registry_.Concluded(sequence);
    StartQueued();
    hooks_.concluded();
  };
  auto run = std::make_shared<JobRun>(arena_, events_, std::move(settings), std::move(work),
                                      std::move(recorder), std::move(hooks));
  run->AnnounceCreated();
  reservation.Accept(std::move(run), found);
}

void JobStarter::StartQueued() {
  for (const std::shared_ptr<ListedJob>& job : registry_.TakePlaces()) job->Start();
}

}  // namespace chainfs::jobs
