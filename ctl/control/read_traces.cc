// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/read_traces.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <span>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/copy/read_trace.h"

namespace chainfs::control {
namespace {

// Which parts of a disk were read is nobody's business but that of who may give commands.
constexpr mode_t kTracePermissions = 0600;

std::unexpected<Error> Refuse(ErrorKind kind, const std::string& message) {
  return Fail(kind, EscapeText(message));
}

Status WriteTrace(File& file, const std::string& text) {
  CHAINFS_TRY(file.WriteAt(HostOffset(0), std::as_bytes(std::span(text))));
  return file.DataSync();
}

// Best effort: there is an error to tell already.
void RemoveTrace(const FileLocation& location, File& file) {
  const Result<FileStat> stat = file.Stat();
  if (stat && location.directory->RemoveFile(location.name, stat->id)) {
    (void)location.directory->Sync();
  }
}

}  // namespace

Status ReadTraces::Start(const DiskPtr& disk, const std::string& name, bool anywhere) {
  const MutexLock writing(write_mu_);
  if (catalog_.options().read_only) return Refuse(ErrorKind::kReadOnly, "the mount is read-only");
  StopForgotten();
  if (const std::optional<std::string> file = FileOf(*disk)) {
    return Refuse(ErrorKind::kBusy,
                  fmt::format("what is read of {} is being recorded in {} already; stop that first",
                              disk->name(), *file));
  }
  {
    const MutexLock lock(mu_);
    if (traces_.size() == kMostTraces) {
      return Refuse(ErrorKind::kBusy,
                    fmt::format("the reads of {} disks are being recorded; stop one of them first",
                                kMostTraces));
    }
  }
  CHAINFS_ASSIGN(FileLocation location, catalog_.user_files().ForNew(disk, name, anywhere));
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 location.directory->Create(location.name, kTracePermissions));
  Status made = WriteTrace(*file, jobs::FormatTrace(disk->name(), {}));
  if (made) made = location.directory->Sync();
  if (!made) {
    RemoveTrace(location, *file);
    return made;
  }
  auto reads = std::make_shared<FirstReads>(jobs::kMostTraceRanges);
  Trace trace{.disk = disk,
              .address = disk.get(),
              .disk_name = disk->name(),
              .location = std::move(location),
              .file = std::move(file),
              .reads = reads};
  Publish("TRACE_STARTED", trace, {});
  {
    const MutexLock lock(mu_);
    traces_.push_back(std::move(trace));
  }
  disk->read_taps().Add(std::move(reads));
  return {};
}

Status ReadTraces::Stop(const DiskPtr& disk) {
  const MutexLock writing(write_mu_);
  const std::optional<Trace> trace = Take(disk.get());
  if (!trace) {
    return Refuse(ErrorKind::kInvalidArgument,
                  fmt::format("what is read of {} is not being recorded", disk->name()));
  }
  return Finish(*trace);
}

void ReadTraces::StopAll() {
  const MutexLock writing(write_mu_);
  std::vector<Trace> all;
  {
    const MutexLock lock(mu_);
    all = std::exchange(traces_, {});
  }
  for (const Trace& trace : all) {
    if (const Status done = Finish(trace); !done) spdlog::warn("{}", done.error().message);
  }
}

void ReadTraces::StopForgotten() {
  for (;;) {
    const std::optional<Trace> trace = Take(nullptr);
    if (!trace) return;
    if (const Status done = Finish(*trace); !done) spdlog::warn("{}", done.error().message);
  }
}

std::optional<std::string> ReadTraces::FileOf(const Disk& disk) const {
  const MutexLock lock(mu_);
  for (const Trace& trace : traces_) {
    if (trace.IsOf(&disk)) return trace.location.path;
  }
  return std::nullopt;
}

std::optional<ReadTraces::Trace> ReadTraces::Take(const Disk* disk) {
  const MutexLock lock(mu_);
  const auto found =
      std::ranges::find_if(traces_, [&](const Trace& trace) { return trace.IsOf(disk); });
  if (found == traces_.end()) return std::nullopt;
  std::optional<Trace> taken = std::move(*found);
  traces_.erase(found);
  return taken;
}

void ReadTraces::Publish(std::string_view event, const Trace& trace, std::string_view error) {
  std::vector<jobs::EventField> fields = {jobs::TextField("disk", trace.disk_name),
                                          jobs::TextField("file", trace.location.path)};
  if (!error.empty()) fields.push_back(jobs::TextField("error", error));
  events_.Publish(event, fields);
}

Status ReadTraces::Finish(const Trace& trace) {
  if (const DiskPtr disk = trace.disk.lock()) disk->read_taps().Remove(*trace.reads);
  std::vector<jobs::ChunkRange> ranges;
  while (const std::optional<GuestOffset> read = trace.reads->Next()) {
    ranges.push_back({read->value, FirstReads::kGranule});
  }
  Status written = WriteTrace(*trace.file, jobs::FormatTrace(trace.disk_name, ranges));
  Publish("TRACE_STOPPED", trace, written ? std::string() : written.error().message);
  if (written) return {};
  RemoveTrace(trace.location, *trace.file);
  return Refuse(written.error().kind,
                fmt::format("{}: what was read of {} is lost: {}", trace.location.path,
                            trace.disk_name, written.error().message));
}

}  // namespace chainfs::control
