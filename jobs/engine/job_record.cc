// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "blocklayer/base/percent_text.h"
#include "ctl/verbs/job_id.h"
#include "jobs/engine/old_job_record.h"

namespace chainfs::jobs {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kVersion = 2;
constexpr std::string_view kPivot = "pivot";
constexpr std::string_view kCopy = "copy";
constexpr std::string_view kUndo = "undo";

std::unexpected<Error> NoSense(std::string_view key) {
  return Fail(ErrorKind::kInvalidFormat, fmt::format("'{}' is missing or makes no sense", key));
}

Result<std::string> NeedText(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return NoSense(key);
  std::string text = PercentUnescape(found->get_ref<const std::string&>());
  if (text.empty()) return NoSense(key);
  return text;
}

Result<uint64_t> NeedNumber(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_unsigned()) return NoSense(key);
  return found->get<uint64_t>();
}

Result<bool> NeedBool(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_boolean()) return NoSense(key);
  return found->get<bool>();
}

Result<verbs::Arguments> NeedCommand(const Json& json) {
  const auto found = json.find("command");
  if (found == json.end() || !found->is_object()) return NoSense("command");
  verbs::Arguments command;
  for (const auto& [key, value] : found->items()) {
    if (!value.is_string()) return NoSense(key);
    command.Set(PercentUnescape(key), PercentUnescape(value.get_ref<const std::string&>()));
  }
  return command;
}

Result<JobRecord> ReadFields(const Json& json) {
  CHAINFS_ASSIGN(const uint64_t version, NeedNumber(json, "version"));
  if (version != kVersion) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("version {} is not known to this chainfs", version));
  }
  JobRecord record;
  CHAINFS_ASSIGN(record.id, NeedText(json, "id"));
  if (!verbs::IsLegalJobId(record.id)) return NoSense("id");
  CHAINFS_ASSIGN(record.type, NeedText(json, "type"));
  CHAINFS_ASSIGN(record.disk, NeedText(json, "disk"));
  CHAINFS_ASSIGN(record.command, NeedCommand(json));
  CHAINFS_ASSIGN(record.privileged, NeedBool(json, "privileged"));
  CHAINFS_ASSIGN(record.parameters.speed, NeedNumber(json, "speed"));
  CHAINFS_ASSIGN(record.parameters.paused, NeedBool(json, "paused"));
  CHAINFS_ASSIGN(record.parameters.progress, NeedNumber(json, "progress"));
  CHAINFS_ASSIGN(const std::string phase, NeedText(json, "phase"));
  if (phase != kPivot && phase != kCopy && phase != kUndo) return NoSense("phase");
  record.pivoting = phase == kPivot;
  if (json.contains("group")) {
    CHAINFS_ASSIGN(record.group, NeedText(json, "group"));
  }
  if (phase == kUndo) {
    record.undo = "";
    if (json.contains("error")) {
      CHAINFS_ASSIGN(record.undo, NeedText(json, "error"));
    }
  }
  return record;
}

}  // namespace

std::string JobRecordName(std::string_view id) { return fmt::format("{}{}", kJobRecordPrefix, id); }

std::string FormatJobRecord(const JobRecord& record) {
  Json command = Json::object();
  for (const auto& [key, value] : record.command.items()) {
    command[PercentEscape(key)] = PercentEscape(value);
  }
  Json json = {
      {"version", kVersion},
      {"id", record.id},
      {"type", PercentEscape(record.type)},
      {"disk", PercentEscape(record.disk)},
      {"command", std::move(command)},
      {"privileged", record.privileged},
      {"speed", record.parameters.speed},
      {"paused", record.parameters.paused},
      {"progress", record.parameters.progress},
      {"phase", record.undo       ? kUndo
                : record.pivoting ? kPivot
                                  : kCopy},
  };
  if (!record.group.empty()) json["group"] = PercentEscape(record.group);
  if (record.undo && !record.undo->empty()) json["error"] = PercentEscape(*record.undo);
  return json.dump(2) + "\n";
}

Result<JobRecord> ParseJobRecord(std::string_view text) {
  if (IsOldJobRecord(text)) return ParseOldJobRecord(text);
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return Fail(ErrorKind::kInvalidFormat, "it is not a complete JSON object");
  return ReadFields(json);
}

}  // namespace chainfs::jobs
