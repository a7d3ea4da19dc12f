// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_record.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "ctl/verbs/job_id.h"

namespace chainfs::jobs {
namespace {

constexpr std::string_view kVersion = "1";
constexpr std::array<std::pair<OnError, std::string_view>, 4> kPolicies = {
    {{OnError::kReport, "report"},
     {OnError::kIgnore, "ignore"},
     {OnError::kStop, "stop"},
     {OnError::kEnospc, "enospc"}}};

std::string_view DeleteWord(RemoveLayers remove) {
  switch (remove) {
    case RemoveLayers::kNo:
      break;
    case RemoveLayers::kInSources:
      return "sources";
    case RemoveLayers::kAnywhere:
      return "anywhere";
  }
  return "no";
}

std::string Escape(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '%' || c == '\n' || c == '\r') {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out;
}

std::string Unescape(std::string_view value) {
  std::string out;
  for (size_t i = 0; i < value.size(); ++i) {
    unsigned char c = 0;
    if (value[i] == '%' && i + 2 < value.size() &&
        std::from_chars(&value[i + 1], &value[i + 1] + 2, c, 16).ptr == &value[i + 1] + 2) {
      out += static_cast<char>(c);
      i += 2;
    } else {
      out += value[i];
    }
  }
  return out;
}

using Facts = std::map<std::string, std::string, std::less<>>;

Result<Facts> ParseLines(std::string_view text) {
  Facts facts;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.empty() || line.front() == '#') continue;
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
      return Fail(ErrorKind::kInvalidFormat,
                  fmt::format("'{}' is not of the form key=value", line));
    }
    if (!facts.emplace(line.substr(0, equals), Unescape(line.substr(equals + 1))).second) {
      return Fail(ErrorKind::kInvalidFormat,
                  fmt::format("key '{}' occurs twice", line.substr(0, equals)));
    }
  }
  return facts;
}

Result<std::string> Need(const Facts& facts, std::string_view key) {
  const auto found = facts.find(key);
  if (found == facts.end() || found->second.empty()) {
    return Fail(ErrorKind::kInvalidFormat, fmt::format("there is no '{}'", key));
  }
  return found->second;
}

std::unexpected<Error> Malformed(std::string_view key, std::string_view value) {
  return Fail(ErrorKind::kInvalidFormat, fmt::format("'{}={}' makes no sense", key, value));
}

Result<uint64_t> NeedNumber(const Facts& facts, std::string_view key) {
  CHAINFS_ASSIGN(const std::string text, Need(facts, key));
  uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size()) return Malformed(key, text);
  return number;
}

Result<OnError> NeedPolicy(const Facts& facts) {
  CHAINFS_ASSIGN(const std::string word, Need(facts, "on-error"));
  for (const auto& [policy, name] : kPolicies) {
    if (name == word) return policy;
  }
  return Malformed("on-error", word);
}

Result<RemoveLayers> ReadDelete(const Facts& facts) {
  // Records of older daemons do not say.
  const auto found = facts.find("delete");
  if (found == facts.end()) return RemoveLayers::kNo;
  for (const RemoveLayers value :
       {RemoveLayers::kNo, RemoveLayers::kInSources, RemoveLayers::kAnywhere}) {
    if (DeleteWord(value) == found->second) return value;
  }
  return Malformed("delete", found->second);
}

}  // namespace

std::string JobRecordName(std::string_view id) { return fmt::format("{}{}", kJobRecordPrefix, id); }

std::string FormatJobRecord(const JobRecord& record) {
  std::string_view policy;
  for (const auto& [value, name] : kPolicies) {
    if (value == record.on_error) policy = name;
  }
  return fmt::format(
      "version={}\nid={}\ntype={}\ndisk={}\ntop={}\nbase={}\nspeed={}\non-error={}\nphase={}\n"
      "paused={}\ndelete={}\nprogress={}\n",
      kVersion, record.id, record.type, Escape(record.disk), Escape(record.top),
      Escape(record.base.value_or("")), record.speed, policy, record.pivoting ? "pivot" : "copy",
      record.paused ? 1 : 0, DeleteWord(record.remove), record.progress);
}

Result<JobRecord> ParseJobRecord(std::string_view text) {
  CHAINFS_ASSIGN(const Facts facts, ParseLines(text));
  CHAINFS_ASSIGN(const std::string version, Need(facts, "version"));
  if (version != kVersion) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("version {} is not known to this chainfs", version));
  }
  JobRecord record;
  CHAINFS_ASSIGN(record.id, Need(facts, "id"));
  if (!verbs::IsLegalJobId(record.id)) return Malformed("id", record.id);
  CHAINFS_ASSIGN(record.type, Need(facts, "type"));
  if (record.type != "stream") {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("jobs of type '{}' are not known to this chainfs", record.type));
  }
  CHAINFS_ASSIGN(record.disk, Need(facts, "disk"));
  CHAINFS_ASSIGN(record.top, Need(facts, "top"));
  const auto base = facts.find("base");
  if (base == facts.end()) return Fail(ErrorKind::kInvalidFormat, "there is no 'base'");
  if (!base->second.empty()) record.base = base->second;
  CHAINFS_ASSIGN(record.speed, NeedNumber(facts, "speed"));
  CHAINFS_ASSIGN(record.on_error, NeedPolicy(facts));
  CHAINFS_ASSIGN(const std::string phase, Need(facts, "phase"));
  if (phase != "copy" && phase != "pivot") return Malformed("phase", phase);
  record.pivoting = phase == "pivot";
  CHAINFS_ASSIGN(const uint64_t paused, NeedNumber(facts, "paused"));
  if (paused > 1) return Malformed("paused", std::to_string(paused));
  record.paused = paused == 1;
  CHAINFS_ASSIGN(record.progress, NeedNumber(facts, "progress"));
  CHAINFS_ASSIGN(record.remove, ReadDelete(facts));
  return record;
}

}  // namespace chainfs::jobs
