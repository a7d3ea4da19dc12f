// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/sources.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/catalog/dropped_file.h"
#include "blocklayer/catalog/group_record.h"
#include "blocklayer/catalog/name_records.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {
namespace {

std::string RecordPath(const RecordDirectory& store, const std::string& file) {
  return JoinPath(JoinPath(store.source_path(), kRecordDirectory), file);
}

std::string MissingHint(const ChainRecord& record, const std::string& record_path) {
  return fmt::format(
      "{}: the active layer of {} is missing; put it back, or, to go back to {} and lose what was "
      "written since, remove {}",
      record.active, record.name, record.backing.empty() ? record.origin : record.backing,
      record_path);
}

}  // namespace

void Sources::AddSource(Source source) {
  for (const Source& other : sources_) {
    if (other.directory->path() == source.directory->path()) source.records = other.records;
  }
  if (source.records == nullptr)
    source.records = std::make_shared<RecordDirectory>(source.directory);
  sources_.push_back(std::move(source));
}

Status Sources::Add(const SourceSpec& spec) {
  if (!spec.name && !spec.format) {
    Result<std::shared_ptr<Directory>> directory = roots_.Add(spec.path, RootUse::kCreate);
    if (directory) {
      AddSource({.directory = *std::move(directory), .records = {}, .image = {}, .name = {}});
      return {};
    }
    const ErrorKind kind = directory.error().kind;
    if (kind != ErrorKind::kInvalidArgument && kind != ErrorKind::kNotFound) {
      return std::unexpected(std::move(directory).error());
    }
  }
  return AddImage(spec);
}

Status Sources::AddImage(const SourceSpec& spec) {
  const size_t slash = spec.path.rfind('/');
  Source source{.directory = {},
                .records = {},
                .image = FileNameOf(spec.path),
                .name = spec.name,
                .format = ImageFormat::kQcow2};
  std::string directory = slash == std::string::npos ? "." : spec.path.substr(0, slash);
  if (slash == 0) directory = "/";
  if (source.image.empty() || source.image == "." || source.image == "..") {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: not the name of an image", spec.path)));
  }
  if (spec.name) CHAINFS_TRY(CheckChainName(*spec.name));
  const std::optional<ImageFormat> format =
      spec.format ? spec.format : FormatOfFileName(source.image);
  CHAINFS_ASSIGN(source.directory, roots_.Add(directory, RootUse::kCreate));
  if (!format) {
    // A file that is not there has a worse fault than its name.
    if (const auto file = source.directory->Open(source.image, OpenMode::kReadOnly);
        !file && file.error().kind == ErrorKind::kNotFound) {
      return std::unexpected(file.error());
    }
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: the extension does not tell the format; give it as "
                                       "{},format=qcow2 or {},format=raw",
                                       spec.path, spec.path, spec.path)));
  }
  source.format = *format;
  for (const Source& other : sources_) {
    if (other.name && other.name == source.name) {
      return Fail(
          ErrorKind::kInvalidArgument,
          fmt::format("two sources have the name {}; give one another, as NAME=IMAGE", *spec.name));
    }
  }
  // A missing image is a mistake of the caller, unless its chain has moved on without it.
  const auto file = source.directory->Open(source.image, OpenMode::kReadOnly);
  if (!file) {
    AddSource(source);
    std::string texts;
    CHAINFS_ASSIGN(const std::vector<LoadedRecord> records, LoadRecords(texts));
    if (RecordOf(sources_.back(), records) != nullptr) return {};
    sources_.pop_back();
    return std::unexpected(file.error());
  }
  AddSource(std::move(source));
  return {};
}

Result<ChainRecord> Sources::Interpret(RecordDirectory& store, const RecordDirectory::Found& found,
                                       bool& settled) {
  Result<ChainRecord> contents = found.contents
                                     ? ParseChainRecord(*found.contents, store.source_path())
                                     : std::unexpected(found.contents.error());
  if (!contents && contents.error().kind == ErrorKind::kPermission) return contents;
  if (!contents) {
    return std::unexpected(
        WithContext(std::move(contents).error(),
                    fmt::format("{}: a record that makes no sense; restore or remove it",
                                EscapeText(RecordPath(store, found.name)))));
  }
  CHAINFS_TRY(store.CheckTrusted(*contents));
  // Somebody renamed it: then it speaks of another chain than it seems.
  if (ChainRecordName(contents->name) != found.name) {
    return Fail(ErrorKind::kInvalidFormat,
                fmt::format("{}: a record of the chain {}, under a wrong name; rename it back or "
                            "remove it",
                            EscapeText(RecordPath(store, found.name)), contents->name));
  }
  if (contents->group.empty()) return contents;
  CHAINFS_ASSIGN(const std::set<std::string> decided, DecidedGroups(store));
  settled = SettleGroup(*contents, decided);
  return contents;
}

Result<std::vector<Sources::LoadedRecord>> Sources::LoadRecords(std::string& texts) {
  std::vector<LoadedRecord> loaded;
  std::set<const RecordDirectory*> done;
  for (size_t i = 0; i < sources_.size(); ++i) {
    RecordDirectory& store = *sources_[i].records;
    if (!done.insert(&store).second) continue;
    Result<std::vector<RecordDirectory::Found>> all = store.ReadAll(kChainRecordPrefix);
    if (!all && !RecordDirectory::IsDistrusted(all.error())) return std::unexpected(all.error());
    if (!all) {
      texts += all.error().message + "\n";
      untold_.insert_or_assign(&store, std::move(all).error());
      continue;
    }
    untold_.erase(&store);
    for (RecordDirectory::Found& found : *all) {
      texts += fmt::format("{}\n{}\n", found.name,
                           found.contents ? *found.contents : found.contents.error().message);
      bool settled = false;
      Result<ChainRecord> contents = Interpret(store, found, settled);
      loaded.push_back(
          {.source = i, .file = found.name, .contents = std::move(contents), .settled = settled});
    }
  }
  return loaded;
}

Result<std::vector<ChainRecord>> Sources::ChainRecords() {
  std::string texts;
  CHAINFS_ASSIGN(std::vector<LoadedRecord> loaded, LoadRecords(texts));
  std::vector<ChainRecord> records;
  for (LoadedRecord& record : loaded) {
    if (record.contents) records.push_back(*std::move(record.contents));
  }
  return records;
}

Result<std::string> Sources::RecordTexts() {
  std::string texts;
  CHAINFS_TRY(LoadRecords(texts));
  return texts;
}

// The record that an image source follows: one that began at the image, of its own name if
// possible.
const Sources::LoadedRecord* Sources::RecordOf(const Source& source,
                                               const std::vector<LoadedRecord>& records) const {
  const std::string path = JoinPath(source.directory->path(), source.image);
  const std::string name = source.name.value_or(StemOf(source.image));
  const LoadedRecord* best = nullptr;
  for (const LoadedRecord& record : records) {
    if (sources_[record.source].records != source.records) continue;
    const bool same_name = record.file == ChainRecordName(name);
    const bool concerns = record.contents
                              ? record.contents->origin == path || record.contents->active == path
                              : same_name;
    if (concerns && (best == nullptr || same_name)) best = &record;
  }
  return best;
}

// The path as an entry would have it: a source may have another spelling than when the record was
// written.
std::string Sources::AsListed(const ChainRecord& record, const std::string& path) {
  const Result<FileLocation> location = roots_.Find(path, record.roots);
  return location ? location->path : path;
}

Candidate Sources::RecordCandidate(size_t index, const LoadedRecord& record) {
  const Source& source = sources_[index];
  const std::string record_path = RecordPath(*source.records, record.file);
  Candidate candidate;
  candidate.source = index;
  candidate.record = record.file;
  if (!record.contents) {
    candidate.path = record_path;
    candidate.file_name = record.file.substr(kChainRecordPrefix.size());
    if (CheckChainName(candidate.file_name)) candidate.fixed_name = candidate.file_name;
    candidate.error = record.contents.error();
    const std::string stem = JoinPath(source.directory->path(), candidate.file_name);
    for (const FormatRow& row : FormatRegistry::BuiltIn().rows()) {
      for (const std::string_view extension : row.extensions) {
        candidate.keeps.push_back(fmt::format("{}{}", stem, extension));
      }
    }
    return candidate;
  }
  const ChainRecord& contents = *record.contents;
  candidate.path = contents.active;
  candidate.format = contents.format;
  candidate.file_name = FileNameOf(candidate.path);
  candidate.fixed_name = contents.name;
  candidate.extra_roots = contents.roots;
  candidate.missing_hint = MissingHint(contents, record_path);
  if (candidate.path != contents.origin) candidate.keeps = {contents.origin, contents.backing};
  Result<FileLocation> location = roots_.Find(candidate.path, contents.roots);
  if (location) {
    candidate.location = *std::move(location);
    candidate.path = candidate.location.path;
  } else {
    candidate.error = std::move(location).error();
    if (candidate.error->kind == ErrorKind::kNotFound) {
      candidate.error->message = candidate.missing_hint;
    }
  }
  return candidate;
}

std::optional<Candidate> Sources::HeldCandidate(size_t index, const LoadedRecord& record,
                                                const std::string& name) {
  if (!record.contents || record.contents->held_for.empty()) return std::nullopt;
  const ChainRecord& contents = *record.contents;
  Result<FileLocation> location = roots_.Find(contents.backing, contents.roots);
  // Then the chain itself says what is missing.
  if (!location) return std::nullopt;
  Candidate candidate;
  candidate.source = index;
  candidate.path = location->path;
  candidate.file_name = location->name;
  candidate.location = *std::move(location);
  candidate.format = contents.backing_format;
  candidate.fixed_name = fmt::format("{}@{}", name, contents.held_for);
  candidate.extra_roots = contents.roots;
  return candidate;
}

Candidate Sources::ImageCandidate(size_t index, const std::vector<LoadedRecord>& records) {
  const Source& source = sources_[index];
  Candidate candidate;
  if (const LoadedRecord* record = RecordOf(source, records); record != nullptr) {
    candidate = RecordCandidate(index, *record);
  } else {
    candidate.source = index;
    candidate.path = JoinPath(source.directory->path(), source.image);
    candidate.location = {
        .directory = source.directory, .name = source.image, .path = candidate.path};
    candidate.format = source.format;
    candidate.file_name = source.image;
  }
  if (source.name) candidate.fixed_name = source.name;
  candidate.named_by_user = true;
  return candidate;
}

Status Sources::RememberName(size_t source, const std::string& name, const std::string& image) {
  return sources_[source].records->Write(NameRecordName(name),
                                         FormatNameRecord({.name = name, .image = image}));
}

std::map<std::string, std::string> Sources::RememberedNames(RecordDirectory& store) {
  std::map<std::string, std::string> names;
  const Result<std::vector<RecordDirectory::Found>> all = store.ReadAll(kNameRecordPrefix);
  if (!all) return names;
  for (const RecordDirectory::Found& found : *all) {
    if (!found.contents) continue;
    const std::optional<NameRecord> record = ParseNameRecord(*found.contents);
    if (record && NameRecordName(record->name) == found.name) names[record->image] = record->name;
  }
  return names;
}

void Sources::KeepShown(size_t source, const ShownNames::Images& images) {
  shown_.Keep(sources_[source].directory->path(), images);
}

void Sources::AddShown(Directory& directory, const std::vector<DirectoryEntry>& entries,
                       std::map<std::string, std::string>& remembered) const {
  std::map<std::string, int> files_of;  // by stem
  for (const DirectoryEntry& entry : entries) {
    if (FormatOfFileName(entry.name) && !entry.is_directory) ++files_of[StemOf(entry.name)];
  }
  if (std::ranges::none_of(files_of, [](const auto& item) { return item.second > 1; })) return;
  std::set<std::string> taken;
  for (const auto& [file, name] : remembered) taken.insert(name);
  for (const auto& [file, inode] : shown_.Load(directory.path())) {
    const std::string stem = StemOf(file);
    const auto files = files_of.find(stem);
    if (files == files_of.end() || files->second < 2 || taken.contains(stem)) continue;
    const Result<FileStat> stat = directory.StatAt(file);
    if (stat && stat->id.inode == inode) remembered.try_emplace(file, stem);
  }
}

void Sources::AddInterrupted(const std::vector<LoadedRecord>& records, Inventory& inventory,
                             std::set<std::string>& known) {
  for (const LoadedRecord& record : records) {
    if (!record.contents) continue;
    const ChainRecord& contents = *record.contents;
    for (const std::vector<ChainRecord::Dropped>* const left : {&contents.drops, &contents.stale}) {
      for (const ChainRecord::Dropped& dropped : *left) {
        const Result<DroppedFile> found = FindDropped(roots_, dropped, contents.roots);
        if (!found) continue;
        known.insert(AsListed(contents, dropped.path));
        inventory.condemned.insert(found->id);
      }
    }
    if (!contents.next.empty()) known.insert(AsListed(contents, contents.next));
    const bool whole = contents.next.empty() && contents.drops.empty() && contents.stale.empty() &&
                       contents.merged.empty();
    if (whole && !record.settled) continue;
    inventory.interrupted.push_back({.source = record.source,
                                     .record = record.file,
                                     .contents = *record.contents,
                                     .settled = record.settled});
  }
}

Result<Inventory> Sources::Collect() {
  Inventory inventory;
  CHAINFS_ASSIGN(const std::vector<LoadedRecord> records, LoadRecords(inventory.record_texts));
  std::set<std::string> known;
  std::set<std::string> moved;
  for (const LoadedRecord& record : records) {
    if (record.contents) moved.insert(record.contents->name);
  }
  const auto add = [&](Candidate candidate) {
    // An image may have been left behind by its chain: it is not shown without the record.
    const auto untold = untold_.find(sources_[candidate.source].records.get());
    if (untold != untold_.end()) candidate.error = untold->second;
    if (known.insert(candidate.path).second) inventory.candidates.push_back(std::move(candidate));
  };
  AddInterrupted(records, inventory, known);
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i].image.empty()) continue;
    Candidate candidate = ImageCandidate(i, records);
    if (!candidate.fixed_name) {
      const std::map<std::string, std::string> remembered = RememberedNames(*sources_[i].records);
      const auto name = remembered.find(candidate.file_name);
      if (name != remembered.end()) candidate.fixed_name = name->second;
    }
    const LoadedRecord* const record = RecordOf(sources_[i], records);
    const std::string chain = candidate.fixed_name.value_or("");
    add(std::move(candidate));
    if (record == nullptr) continue;
    if (std::optional<Candidate> held = HeldCandidate(i, *record, chain)) add(*std::move(held));
  }
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (!sources_[i].image.empty()) continue;
    for (const LoadedRecord& record : records) {
      if (sources_[record.source].records != sources_[i].records) continue;
      Candidate candidate = RecordCandidate(i, record);
      const std::string chain = candidate.fixed_name.value_or("");
      add(std::move(candidate));
      if (std::optional<Candidate> held = HeldCandidate(i, record, chain)) add(*std::move(held));
    }
  }
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (!sources_[i].image.empty()) continue;
    const std::shared_ptr<Directory>& directory = sources_[i].directory;
    CHAINFS_ASSIGN(std::vector<DirectoryEntry> entries, directory->List());
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    std::map<std::string, std::string> remembered = RememberedNames(*sources_[i].records);
    AddShown(*directory, entries, remembered);
    for (DirectoryEntry& entry : entries) {
      const std::optional<ImageFormat> format = FormatOfFileName(entry.name);
      if (!format || entry.is_directory) continue;
      Candidate candidate;
      candidate.source = i;
      candidate.path = JoinPath(directory->path(), entry.name);
      candidate.location = {.directory = directory, .name = entry.name, .path = candidate.path};
      candidate.format = *format;
      const auto name = remembered.find(entry.name);
      // A chain that has moved on keeps its name.
      if (name != remembered.end() && !moved.contains(name->second)) {
        candidate.fixed_name = name->second;
      }
      candidate.file_name = std::move(entry.name);
      add(std::move(candidate));
    }
  }
  return inventory;
}

std::vector<std::shared_ptr<Directory>> Sources::WholeDirectories() const {
  std::vector<std::shared_ptr<Directory>> directories;
  for (const Source& source : sources_) {
    if (!source.image.empty() ||
        std::ranges::find(directories, source.directory) != directories.end()) {
      continue;
    }
    directories.push_back(source.directory);
  }
  return directories;
}

std::vector<std::string> Sources::DirectoryPaths() const {
  std::vector<std::string> paths;
  for (const Source& source : sources_) {
    if (std::ranges::find(paths, source.directory->path()) == paths.end()) {
      paths.push_back(source.directory->path());
    }
  }
  return paths;
}

}  // namespace chainfs
