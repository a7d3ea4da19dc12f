// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/record_store.h"

#include <fmt/format.h>

#include <set>

#include "blocklayer/catalog/group_record.h"
#include "blocklayer/catalog/sources.h"

namespace chainfs {

Result<size_t> RecordStore::WritableSourceOf(const Disk& disk) const {
  if (read_only_) {
    return Fail(ErrorKind::kReadOnly, fmt::format("{}: the mount is read-only", disk.name()));
  }
  const MutexLock lock(mu_);
  const auto found = origins_.find(&disk);
  if (found != origins_.end()) return found->second.source;
  return Fail(ErrorKind::kNotFound, fmt::format("{}: no such disk", disk.name()));
}

Status RecordStore::Write(const Disk& disk, const std::string& name, std::string_view contents) {
  CHAINFS_ASSIGN(const size_t source, WritableSourceOf(disk));
  return sources_.records(source).Write(name, contents);
}

Status RecordStore::Create(const Disk& disk, const std::string& name, std::string_view contents) {
  CHAINFS_ASSIGN(const size_t source, WritableSourceOf(disk));
  return sources_.records(source).Create(name, contents);
}

Result<std::unique_ptr<File>> RecordStore::Open(const Disk& disk, const std::string& name) {
  CHAINFS_ASSIGN(const size_t source, WritableSourceOf(disk));
  return sources_.records(source).Open(name);
}

Status RecordStore::Remove(const Disk& disk, const std::string& name) {
  const Result<size_t> source = WritableSourceOf(disk);
  return source ? sources_.records(*source).Remove(name) : Status();
}

Result<std::vector<RecordStore::Record>> RecordStore::ReadAll(
    std::string_view prefix, std::vector<Error>* distrusted) const {
  std::vector<Record> records;
  std::set<const RecordDirectory*> done;
  for (size_t i = 0; i < sources_.size(); ++i) {
    RecordDirectory& directory = sources_.records(i);
    if (!done.insert(&directory).second) continue;
    Result<std::vector<RecordDirectory::Found>> all = directory.ReadAll(prefix);
    if (!all && !RecordDirectory::IsDistrusted(all.error())) return std::unexpected(all.error());
    // The images of that source are shown as broken, with the reason.
    if (!all) continue;
    for (RecordDirectory::Found& found : *all) {
      if (!found.contents) {
        if (distrusted != nullptr) distrusted->push_back(std::move(found.contents).error());
        continue;
      }
      records.push_back({.source = directory.source_path(),
                         .name = std::move(found.name),
                         .contents = *std::move(found.contents)});
    }
  }
  return records;
}

RecordDirectory* RecordStore::DirectoryOf(const Record& record) const {
  for (size_t i = 0; i < sources_.size(); ++i) {
    RecordDirectory& directory = sources_.records(i);
    if (directory.source_path() == record.source) return &directory;
  }
  return nullptr;
}

Result<bool> RecordStore::Has(const Record& record) const {
  RecordDirectory* const directory = DirectoryOf(record);
  if (directory == nullptr) return false;
  CHAINFS_ASSIGN(const std::vector<RecordDirectory::Found> all, directory->ReadAll(record.name));
  for (const RecordDirectory::Found& found : all) {
    if (found.name != record.name) continue;
    if (!found.contents) return std::unexpected(found.contents.error());
    return true;
  }
  return false;
}

Status RecordStore::Remove(const Record& record) {
  if (read_only_) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  RecordDirectory* const directory = DirectoryOf(record);
  return directory == nullptr ? Status() : directory->Remove(record.name);
}

Status RecordStore::Replace(const Record& record) {
  if (read_only_) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  RecordDirectory* const directory = DirectoryOf(record);
  if (directory == nullptr) return Fail(ErrorKind::kNotFound, record.source + ": no such source");
  return directory->Write(record.name, record.contents);
}

Status RecordStore::RemoveDeadClaim(const Record& record) {
  if (read_only_) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  RecordDirectory* const directory = DirectoryOf(record);
  return directory == nullptr ? Status() : directory->RemoveDeadClaim(record.name);
}

Status RecordStore::RemoveOrphans(std::string_view prefix, std::string_view owner_prefix) {
  if (read_only_) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  Status all;
  for (size_t i = 0; i < sources_.size(); ++i) {
    Status removed = sources_.records(i).RemoveOrphans(prefix, owner_prefix);
    if (all && !removed) all = std::move(removed);
  }
  return all;
}

Result<bool> RecordStore::GroupHasHappened(const Record& record, const std::string& group) const {
  RecordDirectory* const directory = DirectoryOf(record);
  if (directory == nullptr) return Fail(ErrorKind::kNotFound, record.source + ": no such source");
  CHAINFS_ASSIGN(const std::set<std::string> decided, DecidedGroups(*directory));
  return decided.contains(group);
}

Status RecordStore::ForgetGroups(const Disk& disk) {
  CHAINFS_ASSIGN(const size_t source, WritableSourceOf(disk));
  return chainfs::ForgetGroups(sources_.records(source));
}

void RecordStore::SetSource(const DiskPtr& disk, size_t source) {
  const MutexLock lock(mu_);
  origins_[disk.get()] = {.disk = disk, .source = source};
}

void RecordStore::Prune() {
  const MutexLock lock(mu_);
  std::erase_if(origins_, [](const auto& item) { return item.second.disk.expired(); });
}

size_t RecordStore::disks() const {
  const MutexLock lock(mu_);
  return origins_.size();
}

}  // namespace chainfs
