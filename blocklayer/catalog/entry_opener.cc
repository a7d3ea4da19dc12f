// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/entry_opener.h"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool SameFiles(const std::vector<LayerFile>& files, const std::vector<FileStat>& stats) {
  return std::ranges::equal(files, stats, [](const LayerFile& file, const FileStat& stat) {
    return file.stat.id == stat.id && file.stat.size == stat.size &&
           SameTime(file.stat.modified, stat.modified) && SameTime(file.stat.changed, stat.changed);
  });
}

// It is looked at in every scan, but somebody must see to it that there is one.
void LookFailed(CatalogEntry& entry) {
  if (IsPassing(*entry.error) && entry.opening.IsDue()) entry.opening.Failed();
}

}  // namespace

bool EntryOpener::IsWorthOpening(CatalogEntry& entry) {
  if (!entry.error || entry.walked.error || entry.error->kind == ErrorKind::kBusy) return true;
  // A data file is none of the files that were walked.
  if (entry.error->kind == ErrorKind::kNotFound) return true;
  if (!SameFiles(entry.walked.files, entry.opened_as)) {
    entry.opening.Reset();
    return true;
  }
  if (!IsPassing(*entry.error)) return false;
  const bool asked = lists_.TakeRequest(entry.name);
  return asked || entry.opening.IsDue();
}

Status EntryOpener::CheckOpenable(const CatalogEntry& entry, const Users& users) const {
  CHAINFS_TRY(CheckChainName(entry.name));
  if (const auto user = users.data_files.find(entry.id()); user != users.data_files.end()) {
    return Fail(ErrorKind::kUnsupported,
                EscapeText(fmt::format("{}: holds the data of {} and is no disk by itself",
                                       entry.candidate.path, user->second.name)));
  }
  const LeftOutMarks::Mark* const mark = marks_.Uncovered(entry.walked.files);
  if (mark != nullptr && !mark->unread.empty()) {
    return Fail(ErrorKind::kIo,
                EscapeText(fmt::format("{}: whether a job changes {}, which it is built on, is "
                                       "unknown: {}",
                                       entry.candidate.path, mark->contents.path, mark->unread)));
  }
  if (mark != nullptr) {
    return Fail(ErrorKind::kBusy,
                EscapeText(fmt::format("{}: {} writes to {}, which it is built on, or has not "
                                       "finished doing so; only {} and what is built on it are "
                                       "whole",
                                       entry.candidate.path, mark->contents.job,
                                       mark->contents.path, mark->contents.into)));
  }
  for (const LayerFile& file : entry.walked.files) {
    const auto writer = users.written.find(file.stat.id);
    if (writer == users.written.end()) continue;
    return Fail(
        ErrorKind::kBusy,
        EscapeText(fmt::format("{}: {} is open for writing through the disk {}; close that "
                               "first",
                               entry.candidate.path, file.location.path, writer->second.name)));
  }
  return {};
}

Result<Layers> EntryOpener::OpenLayers(const CatalogEntry& entry, ChainOpener& opener,
                                       const LayerUsers& backed,
                                       const std::optional<Error>& before) {
  const LeftOutMarks::Mark* const mark = marks_.Of(entry);
  const auto role_of = [&](const FileId& id) {
    const bool kept = id == entry.id() && mark != nullptr;
    return read_only_ || kept || backed.contains(id) ? LayerRole::kBacking : LayerRole::kActive;
  };
  if (before && before->kind == ErrorKind::kBusy) {
    return opener.OpenIfUnlocked(entry.walked, role_of);
  }
  if (before && IsPassing(*before)) return opener.OpenGently(entry.walked, role_of);
  return opener.Open(entry.walked, role_of);
}

void EntryOpener::Open(CatalogEntry& entry, ChainOpener& opener, const Users& users) {
  if (entry.error && !entry.failed_to_open) {
    LookFailed(entry);
    return;
  }
  const std::optional<Error> before = entry.error;
  if (!IsWorthOpening(entry)) return;
  entry.failed_to_open = false;
  entry.being_checked.reset();
  entry.held_by.reset();
  entry.error = entry.walked.error;
  if (entry.error) {
    LookFailed(entry);
    return;
  }
  if (Status openable = CheckOpenable(entry, users); !openable) {
    entry.error = std::move(openable).error();
    LookFailed(entry);
    return;
  }
  Result<Layers> layers = OpenLayers(entry, opener, users.backed, before);
  const Status made = layers ? MakeDisk(entry, *std::move(layers), users.backed)
                             : std::unexpected(std::move(layers).error());
  if (made) {
    entry.opening.Reset();
    return;
  }
  entry.error = made.error();
  OpeningFailed(entry);
}

void EntryOpener::OpeningFailed(CatalogEntry& entry) {
  const std::vector<LayerFile>& files = entry.walked.files;
  for (const LayerFile& file : files) {
    const bool checked = file.peek.dirty &&
                         repairs_.VerdictOf(file.stat).state == BackgroundRepairs::State::kUnderWay;
    if (checked) entry.being_checked = file.stat.id;
  }
  // It is looked at again at each scan, which costs nothing until it is done.
  if (entry.being_checked) return;
  if (entry.error->kind == ErrorKind::kBusy) {
    entry.held_by = ImageHolder::kNobody;
    for (const LayerFile& file : files) {
      if (pool_.Find(file.stat.id) != nullptr) continue;
      entry.held_by = std::max(*entry.held_by, LayerPool::HolderOf(file));
    }
  }
  entry.failed_to_open = true;
  if (IsPassing(*entry.error)) {
    entry.opening.Failed();
  } else {
    entry.opening.Reset();
  }
  entry.opened_as.clear();
  for (const LayerFile& file : files) entry.opened_as.push_back(file.stat);
}

Status EntryOpener::MakeDisk(CatalogEntry& entry, Layers layers, const LayerUsers& backed) {
  const LayerPtr active = layers.front();
  Image& image = *active->image;
  CHAINFS_ASSIGN(std::unique_ptr<Disk> opened,
                 Disk::Open(entry.name, std::move(layers), *context_));
  const auto backed_by = backed.find(entry.id());
  const LeftOutMarks::Mark* const mark = marks_.Of(entry);
  entry.frozen = read_only_ || backed_by != backed.end() || mark != nullptr || !image.writable();
  if (const LeftOutMarks::Mark* const changing = marks_.Changing(entry); changing && !read_only_) {
    entry.frozen_because = changing->Reason();
  } else if (backed_by != backed.end()) {
    entry.frozen_because = fmt::format("read-only: {}", BuiltOn(backed_by->second));
  } else if (mark != nullptr && !read_only_) {
    entry.frozen_because = mark->Reason();
  } else if (!image.writable() && !read_only_) {
    entry.frozen_because = fmt::format("read-only: {}", active->ReadOnlyReason());
  }
  const bool is_raw = image.format() == ImageFormat::kRaw;
  if (const std::optional<ImageFormat> like =
          is_raw ? pool_.formats().BeginsLike(image.file(), ImageFormat::kRaw) : std::nullopt) {
    entry.hint = fmt::format(
        "{} is shown raw; it begins like {}; if it is meant to be, name its format with "
        "{}={},format={}",
        active->name, like->name(), entry.name, active->path, like->name());
  }
  if (!entry.frozen && !opened->AllowWriting()) {
    // Fewer locks cannot conflict.
    (void)pool_.SetRole(active, LayerRole::kBacking);
    entry.frozen = true;
    entry.frozen_because = kStillBacked;
  }
  entry.disk = DiskPtr(opened.release(), [context = context_](Disk* gone) { delete gone; });
  entry.disk->errors().SetObserver(
      [&events = events_](const Disk& disk, std::string_view operation, const Error& error) {
        CatalogObserver* const observer = events.observer();
        if (observer != nullptr) observer->DiskError(disk, operation, error);
      });
  entry.walked = {};
  entry.opened_as.clear();
  events_.Add([disk = entry.disk](CatalogObserver& observer) { observer.DiskAdded(disk); });
  return {};
}

}  // namespace chainfs
