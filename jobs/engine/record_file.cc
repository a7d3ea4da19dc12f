// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/record_file.h"

#include <spdlog/spdlog.h>

namespace chainfs::jobs {

Status RecordFile::Write() {
  return store_.Write(*disk_, JobRecordName(record_.id), FormatJobRecord(record_));
}

Status RecordFile::Create() {
  MutexLock lock(mu_);
  return store_.Create(*disk_, JobRecordName(record_.id), FormatJobRecord(record_));
}

Status RecordFile::Renew() {
  MutexLock lock(mu_);
  return Write();
}

void RecordFile::LeaveGroup() {
  MutexLock lock(mu_);
  record_.group.clear();
  const Status status = Write();
  if (status) return;
  // The next one that is written makes up for it; until then the group's stays, too.
  spdlog::warn("job {} of {}: its record was not renewed: {}", record_.id, record_.disk,
               status.error().message);
}

Status RecordFile::EnterPivot() {
  MutexLock lock(mu_);
  record_.pivoting = true;
  return Write();
}

Status RecordFile::EnterUndo(const std::string& reason) {
  MutexLock lock(mu_);
  if (record_.undo) return {};  // durable by then
  record_.undo = reason;
  Status written = Write();
  if (!written) record_.undo.reset();
  return written;
}

void RecordFile::Save(const JobParameters& parameters) {
  MutexLock lock(mu_);
  record_.parameters = parameters;
  for (const auto& [key, value] : parameters.changed.items()) record_.command.Set(key, value);
  const Status status = Write();
  if (!status) {
    spdlog::warn("job {} of {}: its parameters were not recorded: {}", record_.id, record_.disk,
                 status.error().message);
  }
}

void RecordFile::Remove() {
  MutexLock lock(mu_);
  const Status status = store_.Remove(*disk_, JobRecordName(record_.id));
  if (!status) {
    spdlog::warn("job {} of {} has ended, but its record stays: {}", record_.id, record_.disk,
                 status.error().message);
  }
}

}  // namespace chainfs::jobs
