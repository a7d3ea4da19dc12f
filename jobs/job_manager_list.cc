// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "blocklayer/name_rules.h"
#include "jobs/job_manager_impl.h"
#include "jobs/job_manager_reservation.h"

namespace chainfs {

JobManager::Impl::Impl(Catalog& catalog, EventLog& events, JobManagerOptions options)
    : catalog_(catalog), events_(events), options_(std::move(options)), arena_(options_.threads) {}

// ---- Reservations.

void JobManager::Impl::Reservation::GiveBack() {
  if (sequence_ != 0) impl_.GiveBack(std::exchange(sequence_, 0));
}

void JobManager::Impl::Reservation::Accept(std::shared_ptr<JobRun> run) {
  run->AnnounceCreated();
  MutexLock lock(impl_.mu_);
  impl_.EntryOf(std::exchange(sequence_, 0))->run = std::move(run);
  if (--impl_.reserving_ == 0) impl_.reservations_gone_.NotifyAll();
}

Status JobManager::Impl::Reserve(Wanted wanted, Reservation& reservation) {
  MutexLock lock(mu_);
  if (shut_down_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  if (IdInUse(wanted.id)) {
    return Fail(
        ErrorKind::kExists,
        fmt::format("there is already a job {}; choose another id, or dismiss that job once "
                    "it has finished",
                    wanted.id));
  }
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
  entry->queues = wanted.queues;
  reservation.sequence_ = entry->sequence;
  reservation.id_ = entry->id;
  entries_.push_back(std::move(entry));
  ++reserving_;
  return {};
}

void JobManager::Impl::GiveBack(uint64_t sequence) {
  std::unique_ptr<Entry> gone;  // its layers go with the list unlocked
  MutexLock lock(mu_);
  const auto found = std::ranges::find(entries_, sequence, &Entry::sequence);
  gone = std::move(*found);
  entries_.erase(found);
  if (--reserving_ == 0) reservations_gone_.NotifyAll();
}

bool JobManager::Impl::IdInUse(std::string_view id) const {
  return std::ranges::any_of(entries_, [&](const auto& entry) { return entry->id == id; });
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
  JobRunHooks hooks{.foreground_busy = options_.foreground_busy,
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
      TrimHistory((*found)->disk);
    }
  }
  StartQueued();
}

void JobManager::Impl::TrimHistory(std::string_view disk) {
  const auto counts = [&](const auto& entry) { return entry->concluded && entry->disk == disk; };
  auto excess = std::ranges::count_if(entries_, counts) - static_cast<ptrdiff_t>(kHistory);
  std::erase_if(entries_, [&](const auto& entry) { return counts(entry) && excess-- > 0; });
}

Status JobManager::Impl::Dismiss(std::string_view disk, std::string_view id) {
  CHAINFS_ASSIGN(const std::shared_ptr<JobRun> run, ForVerb(disk, id));
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

Result<std::shared_ptr<JobRun>> JobManager::Impl::ForVerb(std::string_view disk,
                                                          std::string_view id) {
  MutexLock lock(mu_);
  if (shut_down_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
  if (const Entry* entry = Lookup(disk, id)) return entry->run;
  return Fail(ErrorKind::kNoSuchJob,
              EscapeText(id.empty() ? fmt::format("no job has run on disk {}", disk)
                                    : fmt::format("there is no job {} on disk {}", id, disk)));
}

std::vector<JobInfo> JobManager::Impl::Jobs(std::string_view disk) const {
  std::vector<std::shared_ptr<JobRun>> runs;
  {
    MutexLock lock(mu_);
    for (const auto& entry : std::views::reverse(entries_)) {
      if (!entry->run || entry->dismissed) continue;
      if (disk.empty() || entry->disk == disk) runs.push_back(entry->run);
    }
  }
  std::vector<JobInfo> infos;
  infos.reserve(runs.size());
  for (const std::shared_ptr<JobRun>& run : runs) infos.push_back(run->Info());
  return infos;
}

void JobManager::Impl::Shutdown() {
  std::vector<std::shared_ptr<JobRun>> runs;
  {
    MutexLock lock(mu_);
    shut_down_ = true;
    while (reserving_ > 0) reservations_gone_.Wait(mu_);
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

}  // namespace chainfs
