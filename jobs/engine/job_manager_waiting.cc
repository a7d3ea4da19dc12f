// SPDX-License-Identifier: Apache-2.0
//
// What a daemon finds when it starts: records of jobs that were not finished. One that cannot be
// taken up (its disk is busy, or not there yet) waits; it keeps its id, so that no new job takes
// the place of its record, and is tried again whenever something has changed that may help.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/engine/job_manager_impl.h"
#include "jobs/engine/job_manager_reservation.h"
#include "jobs/stream/space_check.h"
#include "jobs/stream/stream_work.h"

namespace chainfs::jobs {
namespace {

bool SameRecord(const Catalog::Record& a, const Catalog::Record& b) {
  return a.source == b.source && a.name == b.name;
}

Result<JobRecord> Parse(const Catalog::Record& found) {
  CHAINFS_ASSIGN(JobRecord record, ParseJobRecord(found.contents));
  if (found.name != JobRecordName(record.id)) {
    return Fail(ErrorKind::kInvalidFormat, fmt::format("it is about another job, {}", record.id));
  }
  return record;
}

}  // namespace

void JobManager::Impl::ResumeRecorded() {
  std::vector<Error> distrusted;
  const Result<std::vector<Catalog::Record>> records =
      catalog_.records().ReadAll(kJobRecordPrefix, &distrusted);
  if (!records) {
    spdlog::warn("records of unfinished jobs cannot be read: {}", records.error().message);
    return;
  }
  for (const Error& error : distrusted) {
    spdlog::warn("the record of a job does not count: {}", error.message);
  }
  for (const Catalog::Record& record : *records) {
    if (!record.contents.empty()) {
      AddWaiting(record);
    } else if (!catalog_.options().read_only) {
      // The claim of a job that was never accepted, unless another daemon is just accepting it.
      (void)catalog_.records().RemoveDeadClaim(record);
    }
  }
  TryWaiting();
}

// ---- Who has a waiting job in hand.

void JobManager::Impl::TakeInHand(Waiting& waiting) {
  waiting.in_hand = true;
  waiting.again = false;
  ++in_hand_;
}

bool JobManager::Impl::PutDown(const Catalog::Record& record) {
  MutexLock lock(mu_);
  if (--in_hand_ == 0) idle_.NotifyAll();
  Waiting* const waiting = WaitingOf(record);
  if (waiting == nullptr) return false;
  waiting->in_hand = false;
  return std::exchange(waiting->again, false) && !shut_down_;
}

class JobManager::Impl::Hand {
 public:
  Hand(Impl& impl, std::shared_ptr<const Catalog::Record> record)
      : impl_(impl), record_(std::move(record)) {}
  // Whoever came upon the job meanwhile has left it to us.
  ~Hand() {
    if (impl_.PutDown(*record_)) impl_.RetryWaiting();
  }
  Hand(const Hand&) = delete;
  Hand& operator=(const Hand&) = delete;

  const Catalog::Record& record() const { return *record_; }

 private:
  Impl& impl_;
  const std::shared_ptr<const Catalog::Record> record_;
};

void JobManager::Impl::AddWaiting(Catalog::Record record) {
  Waiting waiting{.record = std::make_shared<const Catalog::Record>(std::move(record)),
                  .id = {},
                  .contents = Fail(ErrorKind::kInvalidFormat, ""),
                  .since = std::chrono::system_clock::now()};
  waiting.id = EscapeText(waiting.record->name.substr(kJobRecordPrefix.size()));
  waiting.contents = Parse(*waiting.record);
  MutexLock lock(mu_);
  waiting_.push_back(std::move(waiting));
}

void JobManager::Impl::RetryWaiting() {
  {
    MutexLock lock(mu_);
    if (waiting_.empty() || shut_down_) return;
  }
  bool submitted = false;
  try {
    submitted = arena_.Submit([this] { TryWaiting(); });
  } catch (const std::bad_alloc&) {
    submitted = false;
  }
  if (!submitted) spdlog::warn("no memory to take up waiting jobs");
}

// Tries each once. Who comes upon one that somebody else has in hand leaves it to them.
void JobManager::Impl::TryWaiting() {
  uint64_t round = 0;
  for (;;) {
    std::shared_ptr<const Catalog::Record> record;
    {
      MutexLock lock(mu_);
      if (round == 0) round = ++rounds_;
      const auto next = std::ranges::find_if(
          waiting_, [&](const Waiting& waiting) { return waiting.round < round; });
      if (next == waiting_.end() || shut_down_) return;
      next->round = round;
      if (next->in_hand) {
        next->again = true;
        continue;
      }
      record = next->record;
      TakeInHand(*next);
    }
    const Hand hand(*this, std::move(record));
    // Whatever it throws, the job is put down again.
    const Status tried = Guarded([&] { return TryOne(hand.record()); });
    if (!tried) spdlog::warn("a waiting job: {}", tried.error().message);
  }
}

Status JobManager::Impl::TryOne(const Catalog::Record& record) {
  const Status status = Guarded([&] { return Resume(record); });
  if (status) return {};
  const std::string& reason = status.error().message;
  MutexLock lock(mu_);
  Waiting* const waiting = WaitingOf(record);
  if (waiting == nullptr || waiting->reason == reason) return {};
  spdlog::warn("record {}: the job is not taken up yet: {}", record.name, reason);
  waiting->reason = reason;
  return {};
}

Status JobManager::Impl::Resume(const Catalog::Record& found) {
  CHAINFS_ASSIGN(const JobRecord record, Parse(found));
  if (catalog_.options().read_only) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  CHAINFS_ASSIGN(const bool there, catalog_.records().Has(found));
  if (!there) {
    // Somebody has removed it by hand.
    MutexLock lock(mu_);
    EraseWaiting(found);
    return {};
  }
  CHAINFS_ASSIGN(const DiskPtr disk, FindDisk(record.disk, std::nullopt));
  StreamRequest request;
  request.disk = record.disk;
  request.id = record.id;
  request.top = record.top;
  request.base = record.base;
  Reservation reservation(*this);
  CHAINFS_ASSIGN(StreamPlan plan, ReserveStream(*disk, request, reservation, true));
  std::optional<std::string> warning = SpaceWarning(plan);
  auto work = std::make_unique<StreamWork>(catalog_, disk, std::move(plan), record, true);
  CHAINFS_TRY(work->Prepare());
  spdlog::info("job {} of disk {} is taken up again", record.id, record.disk);
  if (warning) spdlog::warn("job {} of disk {}: {}", record.id, record.disk, *warning);
  reservation.Accept(MakeRun(reservation, SettingsOf(record, std::move(warning)), std::move(work)),
                     &found);
  StartQueued();
  return {};
}

JobManager::Impl::Waiting* JobManager::Impl::WaitingOf(const Catalog::Record& record) {
  const auto found = std::ranges::find_if(
      waiting_, [&](const Waiting& waiting) { return SameRecord(*waiting.record, record); });
  return found == waiting_.end() ? nullptr : &*found;
}

void JobManager::Impl::EraseWaiting(const Catalog::Record& record) {
  std::erase_if(waiting_,
                [&](const Waiting& waiting) { return SameRecord(*waiting.record, record); });
}

const JobManager::Impl::Waiting* JobManager::Impl::LookupWaiting(std::string_view disk,
                                                                 std::string_view id) const {
  for (const Waiting& waiting : waiting_) {
    const bool of_disk = disk.empty() || (waiting.contents && waiting.contents->disk == disk);
    if (of_disk && (id.empty() || waiting.id == id)) return &waiting;
  }
  return nullptr;
}

bool JobManager::Impl::IsWaiting(std::string_view disk, std::string_view id) const {
  MutexLock lock(mu_);
  return !id.empty() && Lookup(disk, id) == nullptr && LookupWaiting(disk, id) != nullptr;
}

std::optional<JobInfo> JobManager::Impl::FindWaiting(std::string_view disk,
                                                     std::string_view id) const {
  MutexLock lock(mu_);
  const Waiting* const waiting = LookupWaiting(disk, id);
  if (waiting == nullptr) return std::nullopt;
  return InfoOf(*waiting);
}

Status JobManager::Impl::DropWaiting(std::string_view disk, std::string_view id) {
  std::shared_ptr<const Catalog::Record> record;
  {
    MutexLock lock(mu_);
    if (shut_down_) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
    const Waiting* const found = LookupWaiting(disk, id);
    if (found == nullptr || found->in_hand) {
      return Fail(ErrorKind::kBusy,
                  EscapeText(fmt::format("job {} is just being taken up; try again", id)));
    }
    record = found->record;
    TakeInHand(*WaitingOf(*record));
  }
  const Hand hand(*this, std::move(record));
  CHAINFS_TRY(catalog_.records().Remove(hand.record()));
  {
    MutexLock lock(mu_);
    EraseWaiting(hand.record());
  }
  spdlog::info("job {} was waiting to be taken up, and was cancelled", id);
  return {};
}

JobInfo JobManager::Impl::InfoOf(const Waiting& waiting) {
  JobInfo info;
  info.id = waiting.id;
  info.type = "unknown";
  if (waiting.contents) {
    info.type = waiting.contents->type;
    info.disk = waiting.contents->disk;
    info.current_progress = waiting.contents->progress;
    info.speed = waiting.contents->speed;
  }
  info.status = JobStatus::kWaiting;
  info.error = fmt::format("waiting to be taken up: {}", waiting.reason);
  info.started = waiting.since;
  return info;
}

}  // namespace chainfs::jobs
