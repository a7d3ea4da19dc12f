// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshot_target.h"

#include <fmt/format.h>
#include <limits.h>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

constexpr int kMaxNumber = 1'000'000;

// kExists, or success when there is nothing of that name.
Status CheckFree(const FileLocation& location) {
  const auto file = location.directory->Open(location.name, OpenMode::kReadOnly);
  const ErrorKind kind = file ? ErrorKind::kExists : file.error().kind;
  if (kind == ErrorKind::kNotFound) return {};
  if (kind == ErrorKind::kIo) return std::unexpected(file.error());
  // What is there but cannot be opened (a directory, a link that leads outside) exists, too.
  return Fail(ErrorKind::kExists,
              EscapeText(fmt::format("{}: exists already; choose another target", location.path)));
}

Status CheckTargetName(const std::string& target, std::optional<ImageFormat> format) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument, EscapeText(fmt::format("{}: {}", target, why)));
  };
  const std::string name = FileNameOf(target);
  if (name.empty() || name == "." || name == "..") return refuse("not the name of a file");
  if (name.size() > NAME_MAX) {
    return refuse(fmt::format("the name of a file has at most {} bytes", NAME_MAX));
  }
  if (!IsPlainText(target)) return refuse("has control characters or is not UTF-8");
  const std::optional<ImageFormat> taken_for = FormatOfFileName(name);
  if (taken_for == format || !taken_for) return {};
  if (!format) {
    return refuse(fmt::format("would be taken for a {} image later; give it another extension",
                              taken_for->name()));
  }
  return refuse(fmt::format("would be taken for a {} image later; call it NAME.{}",
                            taken_for->name(), format->name()));
}

Status CheckNotAmongRecords(const FileLocation& location) {
  const std::string records = fmt::format("/{}/", kRecordDirectory);
  if (location.path.find(records) == std::string::npos) return {};
  return Fail(ErrorKind::kInvalidArgument,
              EscapeText(fmt::format("{}: lies in the directory that chainfs keeps its records in",
                                     location.path)));
}

std::string NumberedName(const std::string& chain, int number) {
  return fmt::format("{}.{}.qcow2", chain, number);
}

}  // namespace

Result<FileLocation> SnapshotTarget::Choose(const CatalogEntry& entry,
                                            const SnapshotRequest& request) {
  Directory& beside = *entry.disk->chain()->active->directory;
  CHAINFS_ASSIGN(const std::vector<ChainRecord> records, sources_.ChainRecords());
  if (!request.target.empty()) {
    CHAINFS_ASSIGN(FileLocation location,
                   Named(entry, request.target, kOverlayFormat, request.anywhere));
    CHAINFS_TRY(CheckFree(location));
    CHAINFS_TRY(CheckNamedByNobody(location, records));
    return location;
  }
  // A chain may have left the sources, and then its own directory is one that not everybody may
  // fill.
  CHAINFS_ASSIGN(FileLocation location,
                 roots_.FindNew(beside, NumberedName(entry.name, 1), request.anywhere));
  for (int n = 1; n < kMaxNumber; ++n) {
    location.name = NumberedName(entry.name, n);
    location.path = JoinPath(location.directory->path(), location.name);
    Status free = CheckFree(location);
    if (free) free = CheckNamedByNobody(location, records);
    if (free) return location;
    if (free.error().kind != ErrorKind::kExists) return std::unexpected(std::move(free).error());
  }
  return Fail(ErrorKind::kExists, fmt::format("{}: no free number left", entry.name));
}

Result<FileLocation> SnapshotTarget::Named(const CatalogEntry& entry, const std::string& name,
                                           std::optional<ImageFormat> format, bool anywhere) {
  CHAINFS_TRY(CheckTargetName(name, format));
  CHAINFS_ASSIGN(FileLocation location,
                 roots_.FindNew(*entry.disk->chain()->active->directory, name, anywhere));
  CHAINFS_TRY(CheckNotAmongRecords(location));
  return location;
}

Status SnapshotTarget::CheckUnused(const FileLocation& location) {
  CHAINFS_ASSIGN(const std::vector<ChainRecord> records, sources_.ChainRecords());
  CHAINFS_TRY(CheckFree(location));
  return CheckNamedByNobody(location, records);
}

Status SnapshotTarget::CheckNamedByNobody(const FileLocation& location,
                                          const std::vector<ChainRecord>& records) {
  const Result<FileId> directory = location.directory->Id();
  const auto refuse = [&](std::string_view who) {
    return Fail(ErrorKind::kExists,
                EscapeText(fmt::format("{}: {} names this file, though it is not there; choose "
                                       "another target",
                                       location.path, who)));
  };
  // However the other one spells the directory.
  const auto same = [&](const std::string& path) {
    if (path.empty() || FileNameOf(path) != location.name) return false;
    if (path == location.path) return true;
    const Result<FileId> its_directory = location.directory->WhereLeads(DirectoryOf(path));
    return directory && its_directory && *its_directory == *directory;
  };
  for (const auto& [path, entry] : chains_.entries()) {
    if (same(path) || same(entry.walked.missing)) return refuse(entry.name);
    for (const std::string& kept : entry.candidate.keeps) {
      if (same(kept)) return refuse(entry.name);
    }
    for (const LayerFile& file : entry.walked.files) {
      if (same(file.location.path)) return refuse(entry.name);
    }
    if (entry.disk == nullptr) continue;
    for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) {
      if (same(layer->path)) return refuse(entry.name);
    }
  }
  for (const auto& [path, overlay] : hidden_.overlays()) {
    if (same(overlay.missing)) return refuse(FileNameOf(path));
  }
  for (const DiskPtr& disk : chains_.Ghosts()) {
    for (const LayerPtr& layer : disk->chain()->AllLayers()) {
      if (same(layer->path)) return refuse(fmt::format("the disk {}, still open,", disk->name()));
    }
  }
  for (const ChainRecord& record : records) {
    for (const std::string& path : {record.active, record.origin, record.backing, record.next}) {
      if (same(path)) return refuse(fmt::format("the record of the chain {}", record.name));
    }
    // What is to be removed has its inode number, too, which the next file of that name may get.
    for (const std::vector<ChainRecord::Dropped>* const left : {&record.drops, &record.stale}) {
      for (const ChainRecord::Dropped& dropped : *left) {
        if (same(dropped.path)) {
          return refuse(fmt::format("the record of the chain {}", record.name));
        }
      }
    }
  }
  return {};
}

}  // namespace chainfs
