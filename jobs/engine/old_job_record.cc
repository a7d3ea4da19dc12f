// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/old_job_record.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <string>

#include "blocklayer/base/percent_text.h"
#include "ctl/verbs/job_id.h"
#include "jobs/engine/job_options.h"

namespace chainfs::jobs {
namespace {

using Facts = std::map<std::string, std::string, std::less<>>;

Result<Facts> ParseFacts(std::string_view text) {
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
    if (!facts.emplace(line.substr(0, equals), PercentUnescape(line.substr(equals + 1))).second) {
      return Fail(ErrorKind::kInvalidFormat,
                  fmt::format("key '{}' occurs twice", line.substr(0, equals)));
    }
  }
  return facts;
}

Result<std::string> FactOf(const Facts& facts, std::string_view key) {
  const auto found = facts.find(key);
  if (found == facts.end() || found->second.empty()) {
    return Fail(ErrorKind::kInvalidFormat, fmt::format("there is no '{}'", key));
  }
  return found->second;
}

std::unexpected<Error> Malformed(std::string_view key, std::string_view value) {
  return Fail(ErrorKind::kInvalidFormat, fmt::format("'{}={}' makes no sense", key, value));
}

Result<uint64_t> FactAsNumber(const Facts& facts, std::string_view key) {
  CHAINFS_ASSIGN(const std::string text, FactOf(facts, key));
  uint64_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size()) return Malformed(key, text);
  return number;
}

// "no", or whose word it was that layers may be removed. Records of older daemons do not say.
Status ReadDelete(const Facts& facts, JobRecord& record) {
  const auto found = facts.find("delete");
  if (found == facts.end() || found->second == "no") return {};
  if (found->second != "sources" && found->second != "anywhere") {
    return Malformed("delete", found->second);
  }
  record.command.Set("delete", "yes");
  record.privileged = found->second == "anywhere";
  return {};
}

Status ReadCommand(const Facts& facts, JobRecord& record) {
  CHAINFS_ASSIGN(const std::string policy, FactOf(facts, "on-error"));
  record.command.Set("on-error", policy);
  if (!ParseJobOptions(record.command)) return Malformed("on-error", policy);
  CHAINFS_ASSIGN(const std::string top, FactOf(facts, "top"));
  record.command.Set("top", top);
  const auto base = facts.find("base");
  if (base == facts.end()) return Fail(ErrorKind::kInvalidFormat, "there is no 'base'");
  if (!base->second.empty()) record.command.Set("base", base->second);
  return ReadDelete(facts, record);
}

}  // namespace

bool IsOldJobRecord(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && text[first] != '{';
}

Result<JobRecord> ParseOldJobRecord(std::string_view text) {
  CHAINFS_ASSIGN(const Facts facts, ParseFacts(text));
  CHAINFS_ASSIGN(const std::string version, FactOf(facts, "version"));
  if (version != "1") {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("version {} is not known to this chainfs", version));
  }
  JobRecord record;
  CHAINFS_ASSIGN(record.id, FactOf(facts, "id"));
  if (!verbs::IsLegalJobId(record.id)) return Malformed("id", record.id);
  CHAINFS_ASSIGN(record.type, FactOf(facts, "type"));
  if (record.type != "stream") {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("jobs of type '{}' are not known to this chainfs", record.type));
  }
  CHAINFS_ASSIGN(record.disk, FactOf(facts, "disk"));
  CHAINFS_TRY(ReadCommand(facts, record));
  CHAINFS_ASSIGN(record.parameters.speed, FactAsNumber(facts, "speed"));
  CHAINFS_ASSIGN(const std::string phase, FactOf(facts, "phase"));
  if (phase != "copy" && phase != "pivot") return Malformed("phase", phase);
  record.pivoting = phase == "pivot";
  CHAINFS_ASSIGN(const uint64_t paused, FactAsNumber(facts, "paused"));
  if (paused > 1) return Malformed("paused", std::to_string(paused));
  record.parameters.paused = paused == 1;
  CHAINFS_ASSIGN(record.parameters.progress, FactAsNumber(facts, "progress"));
  return record;
}

}  // namespace chainfs::jobs
