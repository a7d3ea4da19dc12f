// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/engine/reservation.h"

namespace chainfs::jobs {
namespace {

std::unexpected<Error> ShuttingDown() {
  return Fail(ErrorKind::kShutdown, "the mount is shutting down");
}

bool Drops(const LayerClaims& claims, const LayerPtr& layer) {
  return std::ranges::find(claims.drops, layer) != claims.drops.end();
}

std::unexpected<Error> Busy(const std::string& message) {
  return Fail(ErrorKind::kBusy, EscapeText(message));
}

}  // namespace

// ---- Admission.

Status JobRegistry::CheckId(const Admission& wanted) const {
  if (wanted.id.empty()) return {};
  const bool taken = list_.Has(wanted.id) || (!wanted.taken_up && waiting_.Has(wanted.id));
  if (!taken) return {};
  return Fail(
      ErrorKind::kExists,
      fmt::format("there is already a job {}; choose another id, or dismiss that job once it has "
                  "finished",
                  wanted.id));
}

Status JobRegistry::CheckAlone(const Admission& wanted) const {
  for (const auto& entry : list_.entries()) {
    if (entry->released || entry->concluded || (!wanted.alone && !entry->alone)) continue;
    const auto is_ours = [&](const std::string& disk) { return entry->IsAbout(disk); };
    if (!is_ours(wanted.disk) && std::ranges::none_of(wanted.other_disks, is_ours)) continue;
    return Busy(fmt::format("job {} of disk {} has not finished; wait for it or cancel it",
                            entry->id, entry->disk));
  }
  const WaitingJob* const waiting = wanted.alone ? waiting_.Find(wanted.disk, "") : nullptr;
  if (waiting == nullptr) return {};
  return Busy(fmt::format("job {} of disk {} waits to be taken up; cancel it first", waiting->id,
                          wanted.disk));
}

Status JobRegistry::CheckClaims(const Admission& wanted) const {
  for (const auto& entry : list_.entries()) {
    if (!entry->claims) continue;
    if (wanted.freezes && Drops(*entry->claims, wanted.freezes)) {
      return Busy(
          fmt::format("job {} of disk {} merges its active layer into another one; wait "
                      "for it or cancel it",
                      entry->id, entry->disk));
    }
    if (!wanted.claims || !Conflict(*wanted.claims, *entry->claims)) continue;
    return Busy(
        fmt::format("job {} of disk {} already uses a layer that this {} would write or drop; "
                    "wait for it or cancel it",
                    entry->id, entry->disk, wanted.type));
  }
  return {};
}

Result<Reservation> JobRegistry::Reserve(Admission wanted) {
  MutexLock lock(mu_);
  if (shut_down_) return ShuttingDown();
  CHAINFS_TRY(CheckId(wanted));
  CHAINFS_TRY(CheckAlone(wanted));
  CHAINFS_TRY(CheckClaims(wanted));
  const size_t queued = list_.queued();
  if (wanted.queues && queued >= kMaxQueued) {
    return Busy(fmt::format(
        "{} jobs are already waiting to start; try again when some have finished", queued));
  }
  if (wanted.id.empty()) wanted.id = FreshId(wanted.type);
  auto entry = std::make_unique<JobEntry>();
  entry->id = wanted.id;
  entry->disk = wanted.disk;
  entry->other_disks = wanted.other_disks;
  entry->claims = std::exchange(wanted.claims, std::nullopt);
  entry->priority = wanted.priority;
  entry->alone = wanted.alone;
  entry->queues = wanted.queues;
  const uint64_t sequence = list_.Add(std::move(entry));
  ++reserving_;
  return Reservation(*this, sequence, std::move(wanted));
}

std::string JobRegistry::FreshId(std::string_view type) {
  std::string id;
  do {
    id = fmt::format("{}-{}", type, next_number_++);
  } while (list_.Has(id) || waiting_.Has(id));
  return id;
}

void JobRegistry::GiveBack(uint64_t sequence) {
  std::unique_ptr<JobEntry> gone;  // its layers go with the list unlocked
  MutexLock lock(mu_);
  gone = list_.Remove(sequence);
  if (--reserving_ == 0) idle_.NotifyAll();
}

void JobRegistry::Accept(uint64_t sequence, std::shared_ptr<ListedJob> job,
                         const RecordStore::Record* record) {
  MutexLock lock(mu_);
  if (record != nullptr) waiting_.Erase(*record);
  list_.Of(sequence)->job = std::move(job);
  if (--reserving_ == 0) idle_.NotifyAll();
}

std::vector<std::shared_ptr<ListedJob>> JobRegistry::TakePlaces() {
  MutexLock lock(mu_);
  if (shut_down_) return {};
  return list_.TakePlaces(kMaxRunning);
}

void JobRegistry::LayersReleased(uint64_t sequence) {
  std::optional<LayerClaims> gone;
  MutexLock lock(mu_);
  JobEntry* const entry = list_.Of(sequence);
  if (entry == nullptr) return;
  entry->released = true;
  entry->claims.swap(gone);
}

void JobRegistry::Concluded(uint64_t sequence) {
  std::unique_ptr<JobEntry> gone;
  MutexLock lock(mu_);
  JobEntry* const entry = list_.Of(sequence);
  if (entry == nullptr) return;
  entry->concluded = true;
  if (entry->dismissed) {
    gone = list_.Remove(sequence);
  } else {
    list_.Trim(entry->disk, entry->job->estimates());
  }
}

// ---- Looking.

Result<std::shared_ptr<ListedJob>> JobRegistry::ForVerb(std::string_view disk, std::string_view id,
                                                        bool finished) const {
  std::vector<std::shared_ptr<ListedJob>> jobs;
  {
    MutexLock lock(mu_);
    if (shut_down_) return ShuttingDown();
    jobs = list_.Shown(disk);
  }
  if (!id.empty()) {
    const auto found = std::ranges::find(jobs, id, [](const auto& job) { return job->id(); });
    if (found != jobs.end()) return *found;
    return Fail(ErrorKind::kNoSuchJob,
                EscapeText(disk.empty() ? fmt::format("there is no job {}", id)
                                        : fmt::format("there is no job {} on disk {}", id, disk)));
  }
  // The newest of those that the verb is meant for; else whatever was last, for its refusal.
  for (const bool estimates : {false, true}) {
    for (const std::shared_ptr<ListedJob>& job : jobs) {
      if (job->estimates() == estimates && job->Finished() == finished) return job;
    }
  }
  if (!jobs.empty()) return jobs.front();
  return Fail(ErrorKind::kNoSuchJob,
              EscapeText(disk.empty() ? std::string("no job has run here")
                                      : fmt::format("no job has run on disk {}", disk)));
}

Status JobRegistry::Dismiss(std::string_view disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<ListedJob> job, ForVerb(disk, id, true));
  CHAINFS_TRY(job->CheckDismiss());
  std::unique_ptr<JobEntry> gone;
  MutexLock lock(mu_);
  const auto found = std::ranges::find(list_.entries(), job, &JobEntry::job);
  if (found == list_.entries().end()) return {};
  // It says concluded, but its thread has yet to tell us.
  if ((*found)->concluded) {
    gone = list_.Remove((*found)->sequence);
  } else {
    (*found)->dismissed = true;
  }
  return {};
}

std::vector<JobInfo> JobRegistry::Jobs(std::string_view disk) const {
  std::vector<std::shared_ptr<ListedJob>> jobs;
  std::vector<JobInfo> waiting;
  {
    MutexLock lock(mu_);
    jobs = list_.Shown(disk);
    waiting = waiting_.Infos(disk);
  }
  std::vector<JobInfo> infos;
  infos.reserve(jobs.size() + waiting.size());
  for (const std::shared_ptr<ListedJob>& job : jobs) infos.push_back(job->Info());
  std::ranges::move(waiting, std::back_inserter(infos));
  return infos;
}

std::optional<JobInfo> JobRegistry::Find(std::string_view disk, std::string_view id) const {
  std::shared_ptr<ListedJob> job;
  {
    MutexLock lock(mu_);
    job = list_.Newest(disk, id);
    if (job == nullptr) {
      const WaitingJob* const waiting = waiting_.Find(disk, id);
      if (waiting == nullptr) return std::nullopt;
      return waiting->Info();
    }
  }
  return job->Info();
}

// ---- Waiting jobs.

void JobRegistry::AddWaiting(RecordStore::Record record) {
  WaitingJob job = WaitingJobs::Make(std::move(record));
  MutexLock lock(mu_);
  waiting_.Add(std::move(job));
}

void JobRegistry::EraseWaiting(const RecordStore::Record& record) {
  MutexLock lock(mu_);
  waiting_.Erase(record);
}

bool JobRegistry::IsWaiting(std::string_view disk, std::string_view id) const {
  MutexLock lock(mu_);
  return !id.empty() && list_.Newest(disk, id) == nullptr && waiting_.Find(disk, id) != nullptr;
}

bool JobRegistry::AnyWaiting() const {
  MutexLock lock(mu_);
  return !waiting_.jobs().empty() && !shut_down_;
}

uint64_t JobRegistry::NextRound() {
  MutexLock lock(mu_);
  return waiting_.NextRound();
}

std::shared_ptr<const RecordStore::Record> JobRegistry::TakeNextWaiting(uint64_t round) {
  MutexLock lock(mu_);
  return shut_down_ ? nullptr : waiting_.TakeNext(round);
}

Result<std::shared_ptr<const RecordStore::Record>> JobRegistry::TakeWaiting(std::string_view disk,
                                                                            std::string_view id) {
  MutexLock lock(mu_);
  if (shut_down_) return ShuttingDown();
  std::shared_ptr<const RecordStore::Record> record = waiting_.TakeNamed(disk, id);
  if (record == nullptr) return Busy(fmt::format("job {} is just being taken up; try again", id));
  return record;
}

bool JobRegistry::PutDown(const RecordStore::Record& record) {
  MutexLock lock(mu_);
  const bool again = waiting_.PutDown(record);
  if (waiting_.in_hand() == 0) idle_.NotifyAll();
  return again && !shut_down_;
}

bool JobRegistry::SetReason(const RecordStore::Record& record, const std::string& reason) {
  MutexLock lock(mu_);
  return waiting_.SetReason(record, reason);
}

// ---- The end of the daemon.

std::vector<std::shared_ptr<ListedJob>> JobRegistry::ShutDown() {
  std::vector<std::shared_ptr<ListedJob>> jobs;
  MutexLock lock(mu_);
  shut_down_ = true;
  while (reserving_ > 0 || waiting_.in_hand() > 0) idle_.Wait(mu_);
  for (const auto& entry : list_.entries()) {
    if (entry->job) jobs.push_back(entry->job);
  }
  return jobs;
}

void JobRegistry::ReleaseAllLayers() {
  std::vector<std::optional<LayerClaims>> gone;
  MutexLock lock(mu_);
  for (const auto& entry : list_.entries()) {
    gone.push_back(std::exchange(entry->claims, std::nullopt));
  }
}

}  // namespace chainfs::jobs
