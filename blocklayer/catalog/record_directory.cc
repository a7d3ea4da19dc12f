// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/record_directory.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <span>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

constexpr size_t kMaxRecordBytes = 1 << 20;
// Seconds. Making a claim and locking it, or writing a record and giving it its name, takes
// milliseconds.
constexpr time_t kGrace = 60;

// The temporary file of Directory::WriteFileAtomically.
bool IsUnfinished(std::string_view name) { return name.starts_with('.') && name.ends_with(".tmp"); }

// Whether nobody but root and this process' user may change it.
bool OnlyOursToWrite(const FileStat& stat) {
  return (stat.owner == 0 || stat.owner == ::geteuid()) && (stat.permissions & 022) == 0;
}

}  // namespace

bool RecordDirectory::Covers(std::string_view path) const {
  const std::string prefix = fmt::format("{}/", source_path() == "/" ? "" : source_path());
  return path.starts_with(prefix) && !HasDotDot(path);
}

Status RecordDirectory::CheckTrustedWithPaths() {
  CHAINFS_ASSIGN(const FileStat stat, source_->Stat());
  if (OnlyOursToWrite(stat)) return {};
  return Fail(ErrorKind::kPermission,
              EscapeText(fmt::format("{}: others than root may write this directory, so nothing in "
                                     "it is trusted to name files elsewhere; make it root's, with "
                                     "mode 0755, or keep the layers of a chain in it",
                                     source_path())));
}

Status RecordDirectory::CheckTrusted(const ChainRecord& record) {
  const auto outside = [&](const std::string& path) { return !path.empty() && !Covers(path); };
  const bool names_others =
      !record.roots.empty() || outside(record.active) || outside(record.origin) ||
      outside(record.backing) || outside(record.next) ||
      std::ranges::any_of(record.drops, outside, &ChainRecord::Dropped::path) ||
      std::ranges::any_of(record.stale, outside, &ChainRecord::Dropped::path) ||
      std::ranges::any_of(record.merged, outside, &ChainRecord::Dropped::path);
  return names_others ? CheckTrustedWithPaths() : Status();
}

Result<std::unique_ptr<Directory>> RecordDirectory::OpenStore(bool create) {
  const std::string name(kRecordDirectory);
  auto opened = source_->OpenRealDirectory(name);
  if (!opened && opened.error().kind == ErrorKind::kNotFound) {
    if (!create) return std::unique_ptr<Directory>();
    Status made = source_->MakeDirectory(name, 0700);
    if (!made && made.error().kind != ErrorKind::kExists) return std::unexpected(made.error());
    CHAINFS_TRY(source_->Sync());
    opened = source_->OpenRealDirectory(name);
  }
  if (!opened) return opened;
  CHAINFS_ASSIGN(const FileStat stat, (*opened)->Stat());
  if (OnlyOursToWrite(stat)) return opened;
  return Fail(ErrorKind::kPermission,
              EscapeText(fmt::format("{}: not trusted, because others than root may write it; make "
                                     "root its owner, with mode 0700, or remove it",
                                     (*opened)->path())));
}

Status RecordDirectory::Write(const std::string& name, std::string_view contents) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(true));
  return store->WriteFileAtomically(name, contents);
}

Status RecordDirectory::Create(const std::string& name, std::string_view contents) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(true));
  // Nobody replaces what another daemon on the same directory makes at this moment.
  CHAINFS_ASSIGN(const std::unique_ptr<File> claim, store->Create(name, 0600));
  // Nobody can have locked what we have just made; and without locks the claim is only a minute's.
  (void)claim->SetImageLocks(kActiveLayerLocks);
  Status written = store->WriteFileAtomically(name, contents);
  if (!written) (void)store->Remove(name);
  return written;
}

Status RecordDirectory::RemoveDeadClaim(const std::string& name) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return {};
  FileId id;
  {
    CHAINFS_ASSIGN(const std::unique_ptr<File> claim, store->Open(name, OpenMode::kReadOnly));
    CHAINFS_ASSIGN(const FileStat stat, claim->Stat());
    const bool old = stat.modified.tv_sec + kGrace < ::time(nullptr);
    if (stat.size != 0 || !old || claim->LockedByOthers()) return {};
    id = stat.id;
  }
  CHAINFS_TRY(store->RemoveFile(name, id));
  return store->Sync();
}

Status RecordDirectory::RemoveUnfinished() {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return {};
  CHAINFS_ASSIGN(const std::vector<DirectoryEntry> entries, store->List());
  for (const DirectoryEntry& entry : entries) {
    if (!IsUnfinished(entry.name)) continue;
    CHAINFS_ASSIGN(const FileStat stat, store->StatAt(entry.name));
    if (stat.modified.tv_sec + kGrace >= ::time(nullptr)) continue;
    CHAINFS_TRY(store->RemoveFile(entry.name, stat.id));
  }
  return {};
}

Status RecordDirectory::RemoveOrphans(std::string_view prefix, std::string_view owner_prefix) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return {};
  CHAINFS_ASSIGN(const std::vector<DirectoryEntry> entries, store->List());
  bool removed = false;
  for (const DirectoryEntry& entry : entries) {
    if (!entry.name.starts_with(prefix)) continue;
    // In this order: the owner of this very file was there before it.
    const Result<FileStat> stat = store->StatAt(entry.name);
    if (!stat) continue;
    const std::string owner = fmt::format("{}{}", owner_prefix, entry.name.substr(prefix.size()));
    const Result<FileStat> owned = store->StatAt(owner);
    if (owned || owned.error().kind != ErrorKind::kNotFound) continue;
    removed = store->RemoveFile(entry.name, stat->id) || removed;
  }
  return removed ? store->Sync() : Status();
}

Status RecordDirectory::Remove(const std::string& name) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return {};
  Status removed = store->Remove(name);
  if (!removed && removed.error().kind != ErrorKind::kNotFound) return removed;
  return store->Sync();
}

Result<std::unique_ptr<File>> RecordDirectory::OpenTrusted(Directory& directory,
                                                           const std::string& name, OpenMode mode) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file, directory.Open(name, mode));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  if (OnlyOursToWrite(stat) && stat.links == 1) return file;
  return Fail(
      ErrorKind::kPermission,
      fmt::format("{}: not trusted, because {}; make root its owner with mode 0600, or "
                  "remove it",
                  EscapeText(file->path()),
                  stat.links != 1 ? "it has more than one name" : "others than root may write it"));
}

Result<std::unique_ptr<File>> RecordDirectory::Open(const std::string& name) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return Fail(ErrorKind::kNotFound, fmt::format("there is no {}", name));
  return OpenTrusted(*store, name, OpenMode::kReadWrite);
}

Result<std::string> RecordDirectory::ReadTrusted(Directory& directory, const std::string& name) {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file,
                 OpenTrusted(directory, name, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  if (stat.size > kMaxRecordBytes) {
    return Fail(ErrorKind::kInvalidFormat,
                fmt::format("{}: too long for a record", EscapeText(file->path())));
  }
  std::string contents(stat.size, '\0');
  CHAINFS_ASSIGN(const size_t read,
                 file->ReadAt(HostOffset(0), std::as_writable_bytes(std::span(contents))));
  contents.resize(read);
  return contents;
}

Result<std::vector<RecordDirectory::Found>> RecordDirectory::ReadAll(std::string_view prefix) {
  const MutexLock lock(mu_);
  std::vector<Found> found;
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return found;
  CHAINFS_ASSIGN(const std::vector<DirectoryEntry> entries, store->List());
  for (const DirectoryEntry& entry : entries) {
    if (!entry.name.starts_with(prefix) || entry.name.starts_with('.')) continue;
    Result<std::string> contents = ReadTrusted(*store, entry.name);
    // Removed since it was listed.
    if (!contents && contents.error().kind == ErrorKind::kNotFound) continue;
    found.push_back({.name = entry.name, .contents = std::move(contents)});
  }
  std::ranges::sort(found, {}, &Found::name);
  return found;
}

}  // namespace chainfs
