// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_log.h"

#include <string>
#include <utility>

namespace chainfs::jobs {

Result<std::optional<IntentHeader>> CheckOutLog(RecordStore& store, const Disk& disk,
                                                std::string_view job) {
  Result<std::unique_ptr<IntentFile>> file = IntentFile::Open(store, disk, job);
  if (!file) {
    const ErrorKind kind = file.error().kind;
    const bool useless = kind == ErrorKind::kNotFound || kind == ErrorKind::kInvalidFormat ||
                         kind == ErrorKind::kPermission;
    if (useless) return std::optional<IntentHeader>();
    return std::unexpected(std::move(file).error());
  }
  const IntentHeader found = (*file)->header();
  if (found.state == IntentHeader::State::kMarked) {
    IntentHeader differs = found;
    differs.state = IntentHeader::State::kAllDiffer;
    CHAINFS_TRY((*file)->WriteHeader(differs));
  }
  return std::optional(found);
}

Result<std::shared_ptr<IntentLog>> MakeLog(RecordStore& store, const Disk& disk,
                                           std::string_view job, const IntentHeader& header,
                                           IntentLog::Bits bits) {
  CHAINFS_TRY(IntentFile::Make(store, disk, job, header));
  return ReopenLog(store, disk, job, bits);
}

Result<std::shared_ptr<IntentLog>> ReopenLog(RecordStore& store, const Disk& disk,
                                             std::string_view job, IntentLog::Bits bits) {
  CHAINFS_ASSIGN(std::unique_ptr<IntentFile> file, IntentFile::Open(store, disk, job));
  // The log hangs in the disk, so the disk is there as long as anybody writes it.
  return IntentLog::Load(std::move(file), bits, [&store, &disk, name = std::string(job)] {
    return RemoveLog(store, disk, name);
  });
}

Status RemoveLog(RecordStore& store, const Disk& disk, std::string_view job) {
  return store.Remove(disk, IntentFileName(job));
}

}  // namespace chainfs::jobs
