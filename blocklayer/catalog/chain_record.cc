// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {
namespace {

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
    if (HasDotDot(path)) return "has \"..\" in a path";
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
  if (HasDotDot(value)) return "has \"..\" in a path";
  *path = AbsolutePath(value, source);
  return {};
}

}  // namespace

bool HasDotDot(std::string_view path) {
  return fmt::format("/{}/", path).find("/../") != std::string::npos;
}

std::string FormatChainRecord(const ChainRecord& record, std::string_view source) {
  std::string text = "version=1\n";
  const auto add = [&](std::string_view key, const std::string& value) {
    if (!value.empty()) text += fmt::format("{}={}\n", key, EscapeValue(value));
  };
  add("name", record.name);
  add("active", StoredPath(record.active, source));
  add("format", std::string(record.format.name()));
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

}  // namespace chainfs
