// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {
namespace {

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

uint64_t HashOf(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;  // FNV-1a
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  return hash;
}

// "NANOSECONDS PATH": when the file was made that another field calls by that path. Nothing depends
// on it where it makes no sense.
void SetBirth(ChainRecord& record, const std::string& value, std::string_view source) {
  int64_t born = 0;
  const char* const end = value.data() + value.size();
  const char* const blank = std::from_chars(value.data(), end, born).ptr;
  if (end - blank < 2 || *blank != ' ') return;
  const std::string path = AbsolutePath({blank + 1, end}, source);
  for (auto* const left : {&record.drops, &record.stale, &record.merged}) {
    for (ChainRecord::Dropped& dropped : *left) {
      if (dropped.path == path) dropped.file.born = born;
    }
  }
}

// Sets the field called `key`; says what is wrong with its value, or nothing. Unknown keys are for
// later versions that older ones may ignore.
std::string_view SetField(ChainRecord& record, std::string_view key, const std::string& value,
                          std::string_view source) {
  if (key == "name") record.name = value;
  std::vector<ChainRecord::Dropped>* left = nullptr;
  if (key == "drop") left = &record.drops;
  if (key == "stale") left = &record.stale;
  if (key == "merged") left = &record.merged;
  if (left != nullptr) {
    ChainRecord::Dropped& dropped = left->emplace_back();
    const char* const end = value.data() + value.size();
    const char* const blank = std::from_chars(value.data(), end, dropped.file.inode).ptr;
    if (dropped.file.inode == 0 || end - blank < 2 || *blank != ' ') return "has no inode and path";
    const std::string path(blank + 1, end);
    if (HasDotDot(path)) return "has \"..\" in a path";
    dropped.path = AbsolutePath(path, source);
  }
  if (key == "format" || key == "backing-format") {
    const std::optional<ImageFormat> format = ParseImageFormat(value);
    if (!format) return "has an unknown format";
    (key == "format" ? record.format : record.backing_format) = *format;
  }
  if (key == "held-for") record.held_for = value;
  if (key == "group") record.group = value;
  if (key == "next-held-for") record.next_held_for = value;
  if (key == "merged-by") record.merged_by = value;
  std::string* path = nullptr;
  if (key == "active") path = &record.active;
  if (key == "origin") path = &record.origin;
  if (key == "backing") path = &record.backing;
  if (key == "next") path = &record.next;
  if (key == "root") path = &record.roots.emplace_back();
  if (path == nullptr) return {};
  if (HasDotDot(value)) return "has \"..\" in a path";
  *path = AbsolutePath(value, source);
  return {};
}

}  // namespace

bool HasDotDot(std::string_view path) {
  return fmt::format("/{}/", path).find("/../") != std::string::npos;
}

RecordFields FieldsOf(const ChainRecord& record, std::string_view source) {
  RecordFields fields;
  const auto add = [&](std::string_view key, std::string value) {
    if (!value.empty()) fields.push_back({.key = std::string(key), .value = std::move(value)});
  };
  add("name", record.name);
  add("active", StoredPath(record.active, source));
  add("format", std::string(record.format.name()));
  add("origin", StoredPath(record.origin, source));
  add("backing", StoredPath(record.backing, source));
  add("held-for", record.held_for);
  if (!record.held_for.empty()) add("backing-format", std::string(record.backing_format.name()));
  add("next", StoredPath(record.next, source));
  add("group", record.group);
  add("next-held-for", record.next_held_for);
  const auto add_files = [&](std::string_view key, const std::vector<ChainRecord::Dropped>& files) {
    for (const ChainRecord::Dropped& file : files) {
      add(key, fmt::format("{} {}", file.file.inode, StoredPath(file.path, source)));
    }
  };
  add_files("drop", record.drops);
  add_files("stale", record.stale);
  add_files("merged", record.merged);
  add("merged-by", record.merged_by);
  for (const auto* const left : {&record.drops, &record.stale, &record.merged}) {
    for (const ChainRecord::Dropped& file : *left) {
      if (file.file.born == 0) continue;
      add("file-born", fmt::format("{} {}", file.file.born, StoredPath(file.path, source)));
    }
  }
  for (const std::string& root : record.roots) add("root", root);
  return fields;
}

Result<ChainRecord> ChainRecordOf(const RecordFields& fields, std::string_view source) {
  ChainRecord record;
  for (const RecordField& field : fields) {
    const std::string_view wrong = SetField(record, field.key, field.value, source);
    if (!wrong.empty()) {
      return Fail(ErrorKind::kInvalidFormat, fmt::format("{} {}", field.where, wrong));
    }
  }
  for (const RecordField& field : fields) {
    if (field.key == "file-born") SetBirth(record, field.value, source);
  }
  for (const std::string_view key : {"name", "active", "format"}) {
    if (std::ranges::find(fields, key, &RecordField::key) == fields.end()) {
      return Fail(ErrorKind::kInvalidFormat, fmt::format("it has no \"{}\"", key));
    }
  }
  CHAINFS_TRY(CheckChainName(record.name));
  return record;
}

std::string FormatChainRecord(const ChainRecord& record, std::string_view source) {
  return FormatRecord(FieldsOf(record, source));
}

Result<ChainRecord> ParseChainRecord(std::string_view text, std::string_view source) {
  CHAINFS_ASSIGN(const RecordFields fields, ParseRecord(text));
  return ChainRecordOf(fields, source);
}

std::string ChainRecordName(std::string_view chain) {
  if (chain.size() <= kMaxNameInFileName) return fmt::format("{}{}", kChainRecordPrefix, chain);
  return fmt::format("{}{}-{:016x}", kChainRecordPrefix, chain.substr(0, kMaxNameInFileName),
                     HashOf(chain));
}

}  // namespace chainfs
