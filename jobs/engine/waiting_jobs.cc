// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/waiting_jobs.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

bool SameRecord(const RecordStore::Record& a, const RecordStore::Record& b) {
  return a.source == b.source && a.name == b.name;
}

Result<JobRecord> ReadJobRecord(const RecordStore::Record& found) {
  CHAINFS_ASSIGN(JobRecord record, ParseJobRecord(found.contents));
  if (found.name != JobRecordName(record.id)) {
    return Fail(ErrorKind::kInvalidFormat, fmt::format("it is about another job, {}", record.id));
  }
  return record;
}

}  // namespace

JobInfo WaitingJob::Info() const {
  JobInfo info;
  info.id = id;
  info.type = "unknown";
  if (contents) {
    info.type = contents->type;
    info.disk = contents->disk;
    info.current_progress = contents->parameters.progress;
    info.speed = contents->parameters.speed;
  }
  info.status = JobStatus::kWaiting;
  info.error = fmt::format("waiting to be taken up: {}", reason);
  info.started = since;
  return info;
}

WaitingJob WaitingJobs::Make(Record record) {
  Result<JobRecord> contents = ReadJobRecord(record);
  std::string id = EscapeText(record.name.substr(kJobRecordPrefix.size()));
  return {.record = std::make_shared<const Record>(std::move(record)),
          .id = std::move(id),
          .contents = std::move(contents),
          .since = std::chrono::system_clock::now()};
}

WaitingJob* WaitingJobs::Of(const Record& record) {
  const auto found = std::ranges::find_if(
      jobs_, [&](const WaitingJob& job) { return SameRecord(*job.record, record); });
  return found == jobs_.end() ? nullptr : &*found;
}

void WaitingJobs::Erase(const Record& record) {
  std::erase_if(jobs_, [&](const WaitingJob& job) { return SameRecord(*job.record, record); });
}

bool WaitingJobs::Has(std::string_view id) const {
  return std::ranges::find(jobs_, id, &WaitingJob::id) != jobs_.end();
}

const WaitingJob* WaitingJobs::Find(std::string_view disk, std::string_view id) const {
  for (const WaitingJob& job : jobs_) {
    const bool of_disk = disk.empty() || (job.contents && job.contents->disk == disk);
    if (of_disk && (id.empty() || job.id == id)) return &job;
  }
  return nullptr;
}

std::vector<JobInfo> WaitingJobs::Infos(std::string_view disk) const {
  std::vector<JobInfo> infos;
  for (const WaitingJob& job : jobs_) {
    if (disk.empty() || (job.contents && job.contents->disk == disk)) infos.push_back(job.Info());
  }
  return infos;
}

void WaitingJobs::Replace(Record record) {
  WaitingJob* const job = Of(record);
  if (job == nullptr) return;
  job->contents = ReadJobRecord(record);
  job->record = std::make_shared<const Record>(std::move(record));
  job->again = true;
}

bool WaitingJobs::SetReason(const Record& record, const std::string& reason) {
  WaitingJob* const job = Of(record);
  if (job == nullptr || job->reason == reason) return false;
  job->reason = reason;
  return true;
}

void WaitingJobs::TakeInHand(WaitingJob& job) {
  job.in_hand = true;
  job.again = false;
  ++in_hand_;
}

std::shared_ptr<const WaitingJobs::Record> WaitingJobs::TakeNext(uint64_t round) {
  for (WaitingJob& job : jobs_) {
    if (job.round >= round) continue;
    job.round = round;
    if (job.in_hand) {
      job.again = true;
      continue;
    }
    TakeInHand(job);
    return job.record;
  }
  return nullptr;
}

std::shared_ptr<const WaitingJobs::Record> WaitingJobs::TakeNamed(std::string_view disk,
                                                                  std::string_view id) {
  const WaitingJob* const found = Find(disk, id);
  if (found == nullptr || found->in_hand) return nullptr;
  TakeInHand(*Of(*found->record));
  return found->record;
}

bool WaitingJobs::PutDown(const Record& record) {
  --in_hand_;
  WaitingJob* const job = Of(record);
  if (job == nullptr) return false;
  job->in_hand = false;
  return std::exchange(job->again, false);
}

}  // namespace chainfs::jobs
