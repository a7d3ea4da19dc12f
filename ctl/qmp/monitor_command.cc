// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/monitor_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ctl/qmp/copy_commands.h"
#include "ctl/qmp/job_commands.h"
#include "ctl/qmp/resize_command.h"
#include "ctl/qmp/snapshot_command.h"
#include "ctl/qmp/stream_command.h"

namespace chainfs::qmp {
namespace {

using MonitorJson = nlohmann::json;
using Words = std::vector<std::string>;

enum class Type : unsigned char {
  kDevice,
  kText,
  kSize,  // in MiB unless it has a suffix
  kFlag,  // "-f"
};

struct Argument {
  std::string_view parameter;
  Type type = Type::kDevice;
  bool required = true;
  std::string_view flag = {};
  std::string_view value = {};      // of a flag that is a word: "existing"
  std::string_view otherwise = {};  // the word without it, if any
};

struct Line {
  std::string_view name;
  std::string_view usage;
  std::string_view help;
  std::span<const Argument> arguments;
  Answer (*run)(Client& client, Parameters& parameters);
};

constexpr Argument Flag(std::string_view letter, std::string_view parameter,
                        std::string_view value = {}, std::string_view otherwise = {}) {
  return {parameter, Type::kFlag, false, letter, value, otherwise};
}
constexpr Argument Optional(std::string_view parameter, Type type) {
  return {parameter, type, false, {}, {}, {}};
}

constexpr std::array kDevice = {Argument{"device"}};
constexpr std::array kStreamArguments = {Argument{"device"}, Optional("speed", Type::kSize),
                                         Optional("base", Type::kText)};
constexpr std::array kSnapshotArguments = {Flag("-n", "mode", "existing"), Argument{"device"},
                                           Optional("snapshot-file", Type::kText),
                                           Optional("format", Type::kText)};
constexpr std::array kMirrorArguments = {
    Flag("-n", "mode", "existing"), Flag("-f", "sync", "full", "top"), Argument{"device"},
    Argument{"target", Type::kText}, Optional("format", Type::kText)};
constexpr std::array kBackupArguments = {
    Flag("-n", "mode", "existing"),  Flag("-f", "sync", "full", "top"),
    Flag("-c", "compress"),          Argument{"device"},
    Argument{"target", Type::kText}, Optional("format", Type::kText)};
constexpr std::array kResizeArguments = {Argument{"device"}, Argument{"size", Type::kSize}};
constexpr std::array kCancelArguments = {Flag("-f", "force"), Argument{"device"}};
constexpr std::array kSpeedArguments = {Argument{"device"}, Argument{"speed", Type::kSize}};

constexpr std::array kLines = {
    Line{"block_stream", "device [speed [base]]",
         "copy data from a backing file into a block device", kStreamArguments, BlockStream},
    Line{"snapshot_blkdev", "[-n] device [new-image-file] [format]",
         "initiates a live snapshot of device", kSnapshotArguments, BlockdevSnapshotSync},
    Line{"drive_mirror", "[-n] [-f] device target [format]",
         "initiates live storage migration for a device", kMirrorArguments, DriveMirror},
    Line{"drive_backup", "[-n] [-f] [-c] device target [format]",
         "initiates a point-in-time copy for a device", kBackupArguments, DriveBackup},
    Line{"block_resize", "device size", "resize a block image", kResizeArguments, BlockResize},
    Line{"block_job_cancel", "[-f] device", "stop an active background block operation",
         kCancelArguments, BlockJobCancel},
    Line{"block_job_complete", "device", "stop an active background block operation", kDevice,
         BlockJobComplete},
    Line{"block_job_pause", "device", "pause an active background block operation", kDevice,
         BlockJobPause},
    Line{"block_job_resume", "device", "resume a paused background block operation", kDevice,
         BlockJobResume},
    Line{"block_job_set_speed", "device value",
         "set maximum speed for a background block operation", kSpeedArguments, BlockJobSetSpeed},
};

// At white space; what stands in double quotes is one word, with \" and \\ in it.
Words Split(std::string_view line) {
  Words words;
  bool quoted = false;
  bool open = false;
  for (size_t i = 0; i < line.size(); ++i) {
    char letter = line[i];
    if (letter == '"') {
      quoted = !quoted;
      if (!open) words.emplace_back();
      open = true;
      continue;
    }
    if (!quoted && (letter == ' ' || letter == '\t' || letter == '\n' || letter == '\r')) {
      open = false;
      continue;
    }
    if (quoted && letter == '\\' && i + 1 < line.size()) letter = line[++i];
    if (!open) words.emplace_back();
    open = true;
    words.back() += letter;
  }
  return words;
}

// "10", "10M", "1.5" is none: bytes.
std::optional<int64_t> ParseMonitorSize(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  const std::string_view suffix(end, static_cast<size_t>(text.data() + text.size() - end));
  constexpr std::string_view kSuffixes = "bkmgtpe";
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  const size_t power = suffix.empty() ? 2 : kSuffixes.find(lower(suffix[0]));
  if (suffix.size() > 1 || power == std::string_view::npos) return std::nullopt;
  if (number > (static_cast<uint64_t>(INT64_MAX) >> (10 * power))) return std::nullopt;
  return static_cast<int64_t>(number << (10 * power));
}

std::string TryHelp(std::string_view problem, std::string_view name) {
  return fmt::format("{}\r\nTry \"help {}\" for more information\r\n", problem, name);
}

std::string Missing(const Line& line, Type type) {
  if (type == Type::kSize) return "invalid size";
  return fmt::format("{}: {} expected", line.name,
                     type == Type::kDevice ? "block device name" : "string");
}

// The parameters that the words of the line stand for; or what to answer.
std::expected<MonitorJson, std::string> TakeWords(const Line& line, Words words) {
  MonitorJson parameters = MonitorJson::object();
  words.erase(words.begin());
  for (const Argument& argument : line.arguments) {
    const bool given = !words.empty();
    if (argument.type == Type::kFlag) {
      if (!given || words.front() != argument.flag) {
        if (!argument.otherwise.empty()) parameters[argument.parameter] = argument.otherwise;
        continue;
      }
      parameters[argument.parameter] =
          argument.value.empty() ? MonitorJson(true) : MonitorJson(std::string(argument.value));
    } else if (!given) {
      if (!argument.required) continue;
      return std::unexpected(TryHelp(Missing(line, argument.type), line.name));
    } else if (argument.type == Type::kSize) {
      const std::optional<int64_t> size = ParseMonitorSize(words.front());
      if (!size) return std::unexpected(TryHelp("invalid size", line.name));
      parameters[argument.parameter] = *size;
    } else {
      parameters[argument.parameter] = words.front();
    }
    words.erase(words.begin());
  }
  if (words.empty()) return parameters;
  return std::unexpected(
      TryHelp(fmt::format("{}: extraneous characters at the end of line", line.name), line.name));
}

std::string InfoBlockJobs(Client& client) {
  std::string text;
  for (const jobs::JobInfo& job : ListedJobs(client)) {
    const std::string subject = job.type == "stream"
                                    ? fmt::format("Streaming device {}", job.id)
                                    : fmt::format("Type {}, device {}", job.type, job.id);
    text += fmt::format("{}: Completed {} of {} bytes, speed limit {} bytes/s\r\n", subject,
                        job.current_progress, job.total_progress, job.speed);
  }
  return text.empty() ? "No active jobs\r\n" : text;
}

std::string Help(const Words& words) {
  std::string text;
  for (const Line& line : kLines) {
    if (words.size() > 1 && words[1] != line.name) continue;
    text += fmt::format("{} {} -- {}\r\n", line.name, line.usage, line.help);
  }
  if (words.size() < 2)
    text += "info block-jobs  -- show progress of ongoing block device operations\r\n";
  return text;
}

std::string RunLine(Client& client, const std::string& text) {
  const Words words = Split(text);
  if (words.empty()) return "";
  if (words[0] == "help" || words[0] == "?") return Help(words);
  if (words[0] == "info" && words.size() == 2 && words[1] == "block-jobs") {
    return InfoBlockJobs(client);
  }
  const auto line = std::ranges::find(kLines, words[0], &Line::name);
  if (line == kLines.end()) return fmt::format("unknown command: '{}'\r\n", text);
  const std::expected<MonitorJson, std::string> arguments = TakeWords(*line, words);
  if (!arguments) return arguments.error();
  Parameters parameters(*arguments);
  const Answer answer = line->run(client, parameters);
  return answer ? "" : fmt::format("Error: {}\r\n", answer.error().description);
}

}  // namespace

Answer HumanMonitorCommand(Client& client, Parameters& parameters) {
  const std::string line = parameters.Text("command-line");
  parameters.Ignore("cpu-index");
  CHAINFS_TRY(parameters.Finish());
  return nlohmann::ordered_json(RunLine(client, line));
}

}  // namespace chainfs::qmp
