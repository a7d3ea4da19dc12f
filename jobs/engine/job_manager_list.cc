// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/engine/job_manager_impl.h"
#include "jobs/engine/job_manager_reservation.h"

namespace chainfs::jobs {

JobManager::Impl::Impl(Catalog& catalog, EventLog& events, JobManagerOptions options)
    : catalog_(catalog), events_(events), options_(std::move(options)), arena_(options_.threads) {}

// ---- Reservations.

void JobManager::Impl::Reservation::GiveBack() {
  if (sequence_ != 0) impl_.GiveBack(std::exchange(sequence_, 0));
}

void JobManager::Impl::Reservation::Accept(std::shared_ptr<JobRun> run,
                                           const Catalog::Record* record) {
  run->AnnounceCreated();
  MutexLock lock(impl_.mu_);
  if (record != nullptr) impl_.EraseWaiting(*record);
  impl_.EntryOf(std::exchange(sequence_, 0))->run = std::move(run);
  if (--impl_.reserving_ == 0) impl_.idle_.NotifyAll();
}

Status JobManager::Impl::Reserve(Wanted wanted, Reservation& reservation) {
  MutexLock lock(mu_);
  if (shut_down_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  if (IdInUse(wanted.id) && !(wanted.taken_up && !HasEntry(wanted.id))) {
    return Fail(
        ErrorKind::kExists,
        fmt::format("there is already a job {}; choose another id, or dismiss that job once "
                    "it has finished",
                    wanted.id));
  }
  CHAINFS_TRY(CheckAlone(wanted));
  size_t queued = 0;
  for (const auto& entry : entries_) {
    if (entry->queues && !entry->started && !entry->concluded) ++queued;
    if (wanted.plan && entry->plan && Conflicts(*wanted.plan, *entry->plan)) {
      return Fail(
          ErrorKind::kBusy,
          fmt::format("job {} of disk {} already uses a layer that this stream would write or "
                      "drop; wait for it or cancel it",
                      entry->id, entry->disk));
    }
  }
  if (wanted.queues && queued >= kMaxQueued) {
    return Fail(
        ErrorKind::kBusy,
        fmt::format("{} jobs are already waiting to start; try again when some have finished",
                    queued));
  }
  auto entry = std::make_unique<Entry>();
  entry->sequence = next_sequence_++;
  entry->id = wanted.id.empty() ? FreshId(wanted.type) : std::move(wanted.id);
  entry->disk = std::move(wanted.disk);
  entry->plan = std::move(wanted.plan);
  entry->alone = wanted.alone;
  entry->queues = wanted.queues;
  reservation.sequence_ = entry->sequence;
  reservation.id_ = entry->id;
  entries_.push_back(std::move(entry));
  ++reserving_;
  return {};
}

Status JobManager::Impl::CheckAlone(const Wanted& wanted) const {
  for (const auto& entry : entries_) {
    if (entry->disk != wanted.disk || entry->concluded) continue;
    if (!wanted.alone && !entry->alone) continue;
    return Fail(ErrorKind::kBusy,
                EscapeText(fmt::format("job {} of disk {} has not finished; wait for it or cancel "
                                       "it",
                                       entry->id, entry->disk)));
  }
  const Waiting* const waiting = wanted.alone ? LookupWaiting(wanted.disk, "") : nullptr;
  if (waiting == nullptr) return {};
  return Fail(ErrorKind::kBusy,
              EscapeText(fmt::format("job {} of disk {} waits to be taken up; cancel it first",
                                     waiting->id, wanted.disk)));
}

void JobManager::Impl::GiveBack(uint64_t sequence) {
  std::unique_ptr<Entry> gone;  // its layers go with the list unlocked
  MutexLock lock(mu_);
  const auto found = std::ranges::find(entries_, sequence, &Entry::sequence);
  gone = std::move(*found);
  entries_.erase(found);
  if (--reserving_ == 0) idle_.NotifyAll();
}

bool JobManager::Impl::HasEntry(std::string_view id) const {
  return std::ranges::any_of(entries_, [&](const auto& entry) { return entry->id == id; });
}

bool JobManager::Impl::IdInUse(std::string_view id) const {
  return HasEntry(id) || std::ranges::find(waiting_, id, &Waiting::id) != waiting_.end();
}

std::string JobManager::Impl::FreshId(std::string_view type) {
  std::string id;
  do {
    id = fmt::format("{}-{}", type, next_number_++);
  } while (IdInUse(id));
  return id;
}

// ---- The life of an entry.

std::shared_ptr<JobRun> JobManager::Impl::MakeRun(const Reservation& reservation,
                                                  JobSettings settings,
                                                  std::unique_ptr<ChunkWork> work) {
  const uint64_t sequence = reservation.sequence();
  settings.sequence = sequence;
  JobRunHooks hooks{.failed = options_.failed,
                    .released = [this, sequence] { LayersReleased(sequence); },
                    .concluded = [this, sequence] { Concluded(sequence); }};
  return std::make_shared<JobRun>(arena_, events_, std::move(settings), std::move(work),
                                  std::move(hooks));
}

void JobManager::Impl::StartQueued() {
  std::vector<std::shared_ptr<JobRun>> starting;
  {
    MutexLock lock(mu_);
    if (shut_down_) return;
    size_t running = 0;
    for (const auto& entry : entries_) running += entry->started && !entry->concluded ? 1 : 0;
    for (const auto& entry : entries_) {
      if (running >= kMaxRunning) break;
      // A snapshot's job has no place in the queue: it ends before anybody else sees it.
      if (!entry->run || entry->started || entry->concluded || !entry->queues) continue;
      entry->started = true;
      ++running;
      starting.push_back(entry->run);
    }
  }
  for (const std::shared_ptr<JobRun>& run : starting) run->Start();
}

void JobManager::Impl::LayersReleased(uint64_t sequence) {
  std::optional<StreamPlan> gone;
  MutexLock lock(mu_);
  if (Entry* entry = EntryOf(sequence)) entry->plan.swap(gone);
}

void JobManager::Impl::Concluded(uint64_t sequence) {
  {
    std::unique_ptr<Entry> gone;
    MutexLock lock(mu_);
    const auto found = std::ranges::find(entries_, sequence, &Entry::sequence);
    if (found == entries_.end()) return;
    (*found)->concluded = true;
    if ((*found)->dismissed) {
      gone = std::move(*found);
      entries_.erase(found);
    } else {
      TrimHistory((*found)->disk, (*found)->run->estimates());
    }
  }
  StartQueued();
  // It may have held what a waiting job needs.
  RetryWaiting();
}

void JobManager::Impl::TrimHistory(std::string_view disk, bool estimates) {
  const auto counts = [&](const auto& entry) {
    return entry->concluded && entry->disk == disk && entry->run->estimates() == estimates;
  };
  const size_t kept = estimates ? kEstimates : kHistory;
  auto excess = std::ranges::count_if(entries_, counts) - static_cast<ptrdiff_t>(kept);
  std::erase_if(entries_, [&](const auto& entry) { return counts(entry) && excess-- > 0; });
}

Status JobManager::Impl::Dismiss(std::string_view disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<JobRun> run, ForVerb(disk, id, true));
  CHAINFS_TRY(run->CheckDismiss());
  MutexLock lock(mu_);
  const auto found = std::ranges::find(entries_, run, &Entry::run);
  if (found == entries_.end()) return {};
  // It says concluded, but its thread has yet to tell us.
  if ((*found)->concluded) {
    entries_.erase(found);
  } else {
    (*found)->dismissed = true;
  }
  return {};
}

// ---- Looking.

JobManager::Impl::Entry* JobManager::Impl::EntryOf(uint64_t sequence) {
  const auto found = std::ranges::find(entries_, sequence, &Entry::sequence);
  return found == entries_.end() ? nullptr : found->get();
}

const JobManager::Impl::Entry* JobManager::Impl::Lookup(std::string_view disk,
                                                        std::string_view id) const {
  for (const auto& entry : std::views::reverse(entries_)) {
    if (!entry->run || entry->dismissed) continue;
    if ((disk.empty() || entry->disk == disk) && (id.empty() || entry->id == id)) {
      return entry.get();
    }
  }
  return nullptr;
}

std::shared_ptr<JobRun> JobManager::Impl::FindRun(std::string_view disk,
                                                  std::string_view id) const {
  MutexLock lock(mu_);
  const Entry* entry = Lookup(disk, id);
  return entry != nullptr ? entry->run : nullptr;
}

std::vector<std::shared_ptr<JobRun>> JobManager::Impl::Runs(std::string_view disk) const {
  std::vector<std::shared_ptr<JobRun>> runs;
  for (const auto& entry : std::views::reverse(entries_)) {
    if (!entry->run || entry->dismissed) continue;
    if (disk.empty() || entry->disk == disk) runs.push_back(entry->run);
  }
  return runs;
}

Result<std::shared_ptr<JobRun>> JobManager::Impl::ForVerb(std::string_view disk,
                                                          std::string_view id, bool finished) {
  std::vector<std::shared_ptr<JobRun>> runs;
  {
    MutexLock lock(mu_);
    if (shut_down_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
    runs = Runs(disk);
  }
  if (!id.empty()) {
    const auto found = std::ranges::find(runs, id, [](const auto& run) { return run->id(); });
    if (found != runs.end()) return *found;
    return Fail(ErrorKind::kNoSuchJob,
                EscapeText(disk.empty() ? fmt::format("there is no job {}", id)
                                        : fmt::format("there is no job {} on disk {}", id, disk)));
  }
  // The newest of those that the verb is meant for; else whatever was last, for its refusal.
  for (const bool estimates : {false, true}) {
    for (const std::shared_ptr<JobRun>& run : runs) {
      if (run->estimates() == estimates && run->Finished() == finished) return run;
    }
  }
  if (!runs.empty()) return runs.front();
  return Fail(ErrorKind::kNoSuchJob,
              EscapeText(disk.empty() ? std::string("no job has run here")
                                      : fmt::format("no job has run on disk {}", disk)));
}

std::vector<JobInfo> JobManager::Impl::Jobs(std::string_view disk) const {
  std::vector<std::shared_ptr<JobRun>> runs;
  std::vector<JobInfo> waiting;
  {
    MutexLock lock(mu_);
    runs = Runs(disk);
    for (const Waiting& one : waiting_) {
      if (disk.empty() || (one.contents && one.contents->disk == disk)) {
        waiting.push_back(InfoOf(one));
      }
    }
  }
  std::vector<JobInfo> infos;
  infos.reserve(runs.size() + waiting.size());
  for (const std::shared_ptr<JobRun>& run : runs) infos.push_back(run->Info());
  std::ranges::move(waiting, std::back_inserter(infos));
  return infos;
}

void JobManager::Impl::Shutdown() {
  std::vector<std::shared_ptr<JobRun>> runs;
  {
    MutexLock lock(mu_);
    shut_down_ = true;
    while (reserving_ > 0 || in_hand_ > 0) idle_.Wait(mu_);
    for (const auto& entry : entries_) {
      if (entry->run) runs.push_back(entry->run);
    }
  }
  for (const std::shared_ptr<JobRun>& run : runs) run->Stop();
  for (const std::shared_ptr<JobRun>& run : runs) run->WaitStopped();
  std::vector<std::optional<StreamPlan>> gone;
  MutexLock lock(mu_);
  for (const auto& entry : entries_) gone.push_back(std::exchange(entry->plan, std::nullopt));
}

}  // namespace chainfs::jobs
