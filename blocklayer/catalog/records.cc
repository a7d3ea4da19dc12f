// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/records.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <span>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

constexpr size_t kMaxRecordBytes = 1 << 20;
// Longer chain names are cut and told apart by a hash; the record itself has the whole name.
constexpr size_t kMaxNameInFileName = 180;

// One line a value: the escapes of README.md.
std::string EscapeValue(std::string_view value) {
  std::string escaped;
  for (const char c : value) {
    const uint8_t byte = static_cast<uint8_t>(c);
    if (c == '\\') {
      escaped += "\\\\";
    } else if (c == '\n') {
      escaped += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      escaped += fmt::format("\\x{:02x}", byte);
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::optional<std::string> UnescapeValue(std::string_view value) {
  std::string plain;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] != '\\') {
      plain += value[i];
      continue;
    }
    const char kind = i + 1 < value.size() ? value[i + 1] : '\0';
    if (kind == '\\' || kind == 'n') {
      plain += kind == 'n' ? '\n' : '\\';
      i += 1;
      continue;
    }
    unsigned byte = 0;
    const char* digits = value.data() + std::min(i + 2, value.size());
    const char* end = value.data() + std::min(i + 4, value.size());
    const auto [parsed, error] = std::from_chars(digits, end, byte, 16);
    if (kind != 'x' || error != std::errc{} || parsed != digits + 2) return std::nullopt;
    plain += static_cast<char>(byte);
    i += 3;
  }
  return plain;
}

// Relative to `source` where it lies beneath it.
std::string StoredPath(const std::string& path, std::string_view source) {
  const std::string prefix = fmt::format("{}/", source == "/" ? "" : source);
  return path.starts_with(prefix) && path.size() > prefix.size() ? path.substr(prefix.size())
                                                                 : path;
}

// With single slashes and without ".", which changes nothing of what it means.
std::string AbsolutePath(std::string_view stored, std::string_view source) {
  if (stored.empty()) return {};
  std::string normal(stored.starts_with('/') || source == "/" ? "" : source);
  while (!stored.empty()) {
    const size_t slash = stored.find('/');
    const std::string_view part = stored.substr(0, slash);
    stored.remove_prefix(slash == std::string_view::npos ? stored.size() : slash + 1);
    if (!part.empty() && part != ".") normal += fmt::format("/{}", part);
  }
  return normal.empty() ? "/" : normal;
}

// Beyond a link ".." is not what the text says, so no text tells where such a path leads.
bool Climbs(std::string_view path) {
  return fmt::format("/{}/", path).find("/../") != std::string::npos;
}

// Whether nobody but root and this process' user may change it.
bool OnlyOursToWrite(const FileStat& stat) {
  return (stat.owner == 0 || stat.owner == ::geteuid()) && (stat.permissions & 022) == 0;
}

uint64_t HashOf(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

// Sets the field called `key`; says what is wrong with its value, or nothing. Unknown keys are for
// later versions that older ones may ignore.
std::string_view SetField(ChainRecord& record, std::string_view key, const std::string& value,
                          std::string_view source) {
  if (key == "name") record.name = value;
  if (key == "drop") {
    ChainRecord::Dropped& dropped = record.drops.emplace_back();
    const char* const end = value.data() + value.size();
    const char* const blank = std::from_chars(value.data(), end, dropped.inode).ptr;
    if (dropped.inode == 0 || end - blank < 2 || *blank != ' ') return "has no inode and path";
    const std::string path(blank + 1, end);
    if (Climbs(path)) return "has \"..\" in a path";
    dropped.path = AbsolutePath(path, source);
  }
  if (key == "format") {
    const std::optional<ImageFormat> format = ParseImageFormat(value);
    if (!format) return "has an unknown format";
    record.format = *format;
  }
  std::string* path = nullptr;
  if (key == "active") path = &record.active;
  if (key == "origin") path = &record.origin;
  if (key == "backing") path = &record.backing;
  if (key == "next") path = &record.next;
  if (key == "root") path = &record.roots.emplace_back();
  if (path == nullptr) return {};
  if (Climbs(value)) return "has \"..\" in a path";
  *path = AbsolutePath(value, source);
  return {};
}

}  // namespace

std::string FormatChainRecord(const ChainRecord& record, std::string_view source) {
  std::string text = "version=1\n";
  const auto add = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) text += fmt::format("{}={}\n", key, EscapeValue(value));
  };
  add("name", record.name);
  add("active", StoredPath(record.active, source));
  add("format", std::string(ImageFormatName(record.format)));
  add("origin", StoredPath(record.origin, source));
  add("backing", StoredPath(record.backing, source));
  add("next", StoredPath(record.next, source));
  for (const ChainRecord::Dropped& dropped : record.drops) {
    add("drop", fmt::format("{} {}", dropped.inode, StoredPath(dropped.path, source)));
  }
  for (const std::string& root : record.roots) add("root", root);
  return text;
}

Result<ChainRecord> ParseChainRecord(std::string_view text, std::string_view source) {
  ChainRecord record;
  std::set<std::string_view> seen;
  for (int line_number = 1; !text.empty(); ++line_number) {
    const size_t end = text.find('\n');
    const auto bad = [&](std::string_view why) {
      return Fail(ErrorKind::kInvalidFormat, fmt::format("line {} {}", line_number, why));
    };
    // A record is written whole, so a last line without its end is not ours.
    if (end == std::string_view::npos) return bad("does not end");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) return bad("is not key=value");
    const std::string_view key = line.substr(0, equals);
    const bool repeats = !seen.insert(key).second;
    if (repeats && key != "root" && key != "drop") return bad("repeats a key");
    const std::optional<std::string> value = UnescapeValue(line.substr(equals + 1));
    if (!value) return bad("has a wrong escape");
    if ((line_number == 1) != (key == "version")) return bad("is not where \"version\" belongs");
    if (key == "version" && *value != "1") {
      return Fail(ErrorKind::kUnsupported,
                  fmt::format("it has version {}, but this chainfs knows only version 1",
                              EscapeText(*value)));
    }
    if (const std::string_view wrong = SetField(record, key, *value, source); !wrong.empty()) {
      return bad(wrong);
    }
  }
  for (const std::string_view key : {"version", "name", "active", "format"}) {
    if (!seen.contains(key)) {
      return Fail(ErrorKind::kInvalidFormat, fmt::format("it has no \"{}\"", key));
    }
  }
  CHAINFS_TRY(CheckChainName(record.name));
  return record;
}

std::string ChainRecordName(std::string_view chain) {
  if (chain.size() <= kMaxNameInFileName) return fmt::format("{}{}", kChainRecordPrefix, chain);
  return fmt::format("{}{}-{:016x}", kChainRecordPrefix, chain.substr(0, kMaxNameInFileName),
                     HashOf(chain));
}

bool RecordStore::Covers(std::string_view path) const {
  const std::string prefix = fmt::format("{}/", source_path() == "/" ? "" : source_path());
  return path.starts_with(prefix) && !Climbs(path);
}

Status RecordStore::CheckTrustedWithPaths() {
  CHAINFS_ASSIGN(const FileStat stat, source_->Stat());
  if (OnlyOursToWrite(stat)) return {};
  return Fail(ErrorKind::kPermission,
              EscapeText(fmt::format("{}: others than root may write this directory, so nothing in "
                                     "it is trusted to name files elsewhere; make it root's, with "
                                     "mode 0755, or keep the layers of a chain in it",
                                     source_path())));
}

Status RecordStore::CheckTrusted(const ChainRecord& record) {
  const auto outside = [&](const std::string& path) { return !path.empty() && !Covers(path); };
  const bool names_others = !record.roots.empty() || outside(record.active) ||
                            outside(record.origin) || outside(record.backing) ||
                            outside(record.next) ||
                            std::ranges::any_of(record.drops, outside, &ChainRecord::Dropped::path);
  return names_others ? CheckTrustedWithPaths() : Status();
}

Result<std::unique_ptr<Directory>> RecordStore::OpenStore(bool create) {
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

Status RecordStore::Write(const std::string& name, std::string_view contents) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(true));
  return store->WriteFileAtomically(name, contents);
}

Status RecordStore::Create(const std::string& name, std::string_view contents) {
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

Status RecordStore::RemoveDeadClaim(const std::string& name) {
  // Between making a claim and locking it there are only microseconds.
  constexpr time_t kGrace = 60;
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

Status RecordStore::Remove(const std::string& name) {
  const MutexLock lock(mu_);
  CHAINFS_ASSIGN(const std::unique_ptr<Directory> store, OpenStore(false));
  if (store == nullptr) return {};
  Status removed = store->Remove(name);
  if (!removed && removed.error().kind != ErrorKind::kNotFound) return removed;
  return store->Sync();
}

Result<std::string> RecordStore::ReadTrusted(Directory& directory, const std::string& name) {
  CHAINFS_ASSIGN(const std::unique_ptr<File> file, directory.Open(name, OpenMode::kReadOnly));
  CHAINFS_ASSIGN(const FileStat stat, file->Stat());
  if (!OnlyOursToWrite(stat) || stat.links != 1) {
    return Fail(ErrorKind::kPermission,
                fmt::format("{}: not trusted, because {}; make root its owner with mode 0600, or "
                            "remove it",
                            EscapeText(file->path()),
                            stat.links != 1 ? "it has more than one name"
                                            : "others than root may write it"));
  }
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

Result<std::vector<RecordStore::Found>> RecordStore::ReadAll(std::string_view prefix) {
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
