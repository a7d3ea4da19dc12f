// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/recorded_jobs.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <new>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {

class RecordedJobs::Hand {
 public:
  Hand(RecordedJobs& jobs, std::shared_ptr<const RecordStore::Record> record)
      : jobs_(jobs), record_(std::move(record)) {}
  // Whoever came upon the job meanwhile has left it to us.
  ~Hand() {
    if (jobs_.registry_.PutDown(*record_)) jobs_.RetrySoon();
  }
  Hand(const Hand&) = delete;
  Hand& operator=(const Hand&) = delete;

  const RecordStore::Record& record() const { return *record_; }

 private:
  RecordedJobs& jobs_;
  const std::shared_ptr<const RecordStore::Record> record_;
};

void RecordedJobs::ResumeAll() {
  std::vector<Error> distrusted;
  const Result<std::vector<RecordStore::Record>> records =
      catalog_.records().ReadAll(kJobRecordPrefix, &distrusted);
  if (!records) {
    spdlog::warn("records of unfinished jobs cannot be read: {}", records.error().message);
    return;
  }
  for (const Error& error : distrusted) {
    spdlog::warn("the record of a job does not count: {}", error.message);
  }
  for (const RecordStore::Record& record : *records) {
    if (!record.contents.empty()) {
      registry_.AddWaiting(record);
    } else if (!catalog_.options().read_only) {
      // The claim of a job that was never accepted, unless another daemon is just accepting it.
      (void)catalog_.records().RemoveDeadClaim(record);
    }
  }
  if (!catalog_.options().read_only) RemoveOrphans();
  TryAll();
}

void RecordedJobs::RemoveOrphans() {
  for (const JobType& type : starter_.types()) {
    if (type.companions.empty()) continue;
    const Status removed = catalog_.records().RemoveOrphans(type.companions, kJobRecordPrefix);
    if (!removed) spdlog::warn("what ended jobs have left: {}", removed.error().message);
  }
}

void RecordedJobs::RetrySoon() {
  if (!registry_.AnyWaiting()) return;
  bool submitted = false;
  try {
    submitted = arena_.Submit([this] { TryAll(); });
  } catch (const std::bad_alloc&) {
    submitted = false;
  }
  if (!submitted) spdlog::warn("no memory to take up waiting jobs");
}

// Tries each once. Who comes upon one that somebody else has in hand leaves it to them.
void RecordedJobs::TryAll() {
  const uint64_t round = registry_.NextRound();
  while (std::shared_ptr<const RecordStore::Record> record = registry_.TakeNextWaiting(round)) {
    const Hand hand(*this, std::move(record));
    // Whatever it throws, the job is put down again.
    const Status tried = Guarded([&]() -> Status {
      TryOne(hand.record());
      return {};
    });
    if (!tried) spdlog::warn("a waiting job: {}", tried.error().message);
  }
}

void RecordedJobs::TryOne(const RecordStore::Record& record) {
  const Status status = Guarded([&] { return TakeUp(record); });
  if (status || !registry_.SetReason(record, status.error().message)) return;
  spdlog::warn("record {}: the job is not taken up yet: {}", record.name, status.error().message);
}

Status RecordedJobs::TakeUp(const RecordStore::Record& record) {
  const WaitingJob read = WaitingJobs::Make(record);
  CHAINFS_TRY(read.contents);
  if (catalog_.options().read_only) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  CHAINFS_ASSIGN(const bool there, catalog_.records().Has(record));
  if (!there) {
    // Somebody has removed it by hand.
    registry_.EraseWaiting(record);
    return {};
  }
  return starter_.TakeUp(*read.contents, record);
}

Status RecordedJobs::Cancel(std::string_view disk, std::string_view id) {
  {
    CHAINFS_ASSIGN(std::shared_ptr<const RecordStore::Record> record,
                   registry_.TakeWaiting(disk, id));
    const Hand hand(*this, std::move(record));
    Result<JobRecord> read = ParseJobRecord(hand.record().contents);
    if (read && starter_.Undoes(read->type)) {
      if (read->undo) return {};
      read->undo = "";
      RecordStore::Record told = hand.record();
      told.contents = FormatJobRecord(*read);
      CHAINFS_TRY(catalog_.records().Replace(told));
      registry_.ReplaceWaiting(std::move(told));
      spdlog::info("job {} was waiting to be taken up, and was cancelled; it is undone when it can",
                   id);
      return {};
    }
  }
  return Forget(disk, id);
}

Status RecordedJobs::Forget(std::string_view disk, std::string_view id) {
  CHAINFS_ASSIGN(std::shared_ptr<const RecordStore::Record> record,
                 registry_.TakeWaiting(disk, id));
  const Hand hand(*this, std::move(record));
  const std::string name = hand.record().name.substr(kJobRecordPrefix.size());
  CHAINFS_ASSIGN(const bool holds, catalog_.moves().HoldsPoint(name));
  if (holds) {
    // Without the record nobody would ever merge it back.
    return Fail(
        ErrorKind::kBusy,
        EscapeText(fmt::format("{} holds a point in time of its disk, which has to be merged "
                               "back first: cancel it, and have its disk mounted",
                               name)));
  }
  CHAINFS_TRY(catalog_.records().Remove(hand.record()));
  registry_.EraseWaiting(hand.record());
  spdlog::info("job {} was waiting to be taken up, and was cancelled", id);
  return {};
}

}  // namespace chainfs::jobs
