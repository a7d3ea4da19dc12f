// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/copy_commands.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "ctl/qmp/job_parameters.h"
#include "ctl/verbs/verb_table.h"

namespace chainfs::qmp {
namespace {

constexpr std::array<std::string_view, 5> kSync = {"top", "full", "none", "incremental", "bitmap"};
constexpr std::array<std::string_view, 2> kMode = {"existing", "absolute-paths"};
constexpr std::array<std::string_view, 2> kCopyMode = {"background", "write-blocking"};
constexpr std::array<std::string_view, 4> kCopyOnError = {"report", "ignore", "enospc", "stop"};

// What both kinds of copy have.
struct CopyParameters {
  std::optional<std::string> id;
  std::string device;
  std::string target;  // a file, or a node
  std::string sync;
  std::optional<std::string> format;
  bool existing = false;
  std::optional<std::string> on_source_error;
  std::optional<std::string> on_target_error;
  JobParameters job;
};

CopyParameters TakeCopyParameters(Parameters& parameters, TargetBy by) {
  CopyParameters copy;
  copy.id = parameters.OptionalText("job-id");
  copy.device = parameters.Text("device");
  copy.target = parameters.Text("target");
  copy.sync = parameters.Word("sync", kSync);
  if (by == TargetBy::kFile) {
    copy.format = parameters.OptionalText("format");
    copy.existing = parameters.OptionalWord("mode", kMode) == "existing";
  }
  copy.on_source_error = parameters.OptionalWord("on-source-error", kCopyOnError);
  copy.on_target_error = parameters.OptionalWord("on-target-error", kCopyOnError);
  copy.job = TakeJobParameters(parameters);
  return copy;
}

// Here a job has one policy for both of its sides.
QmpStatus AddOnError(const CopyParameters& copy, verbs::Arguments& arguments) {
  const std::optional<std::string>& one = copy.on_source_error;
  const std::optional<std::string>& other = copy.on_target_error;
  if (one && other && *one != *other) {
    return Refuse("'on-source-error' and 'on-target-error' must be the same: a job has one policy");
  }
  arguments.SetIf("on-error", one ? one : other);
  return {};
}

// A file that is there, where the kind of job writes over one.
QmpStatus AddExisting(std::string_view verb, verbs::Arguments& arguments) {
  const verbs::Verb* const row = verbs::FindVerb(verbs::Verbs(), verb);
  if (row == nullptr || verbs::FindKey(row->keys, "existing") == nullptr) {
    return Refuse(
        fmt::format("a {} does not write over a file that is there; use drive-{} with the "
                    "name of one that is not",
                    verb, verb));
  }
  arguments.Set("existing", "yes");
  return {};
}

QmpStatus AddTarget(Client& client, std::string_view verb, const CopyParameters& copy, TargetBy by,
                    verbs::Arguments& arguments) {
  if (by == TargetBy::kFile) {
    arguments.Set("target", copy.target).SetIf("format", copy.format);
    return copy.existing ? AddExisting(verb, arguments) : QmpStatus();
  }
  CHAINFS_ASSIGN(const TargetNode node, client.nodes.Target(copy.target));
  arguments.Set("target", node.path).Set("format", node.format);
  return AddExisting(verb, arguments);
}

QmpStatus CheckSync(const std::string& sync, std::initializer_list<std::string_view> known) {
  if (std::ranges::find(known, sync) != known.end()) return {};
  return Refuse(fmt::format("Sync mode '{}' not supported", sync));
}

std::expected<JobOrder, QmpError> OrderOf(Client& client, std::string_view verb,
                                          const CopyParameters& copy, TargetBy by,
                                          verbs::Arguments arguments) {
  CHAINFS_ASSIGN(const NamedNode source, client.nodes.Device(copy.device));
  if (!source.active) return Refuse("Need a root block node");
  CHAINFS_TRY(AddTarget(client, verb, copy, by, arguments));
  arguments.Set("sync", copy.sync);
  CHAINFS_TRY(AddOnError(copy, arguments));
  CHAINFS_TRY(copy.job.AddTo(arguments));
  return JobOrder{.verb = std::string(verb),
                  .disk = source.disk,
                  .arguments = std::move(arguments),
                  .choice = copy.job.Choice(copy.id, source)};
}

Answer Mirror(Client& client, Parameters& parameters, TargetBy by) {
  CopyParameters copy = TakeCopyParameters(parameters, by);
  const std::optional<std::string> replaces = parameters.OptionalText("replaces");
  const std::optional<std::string> copy_mode = parameters.OptionalWord("copy-mode", kCopyMode);
  std::optional<std::string> node;
  if (by == TargetBy::kFile) {
    node = parameters.OptionalText("node-name");
    parameters.Ignore("unmap");
  }
  // How finely and with how much memory it copies is for chainfs to choose.
  parameters.Ignore("granularity");
  parameters.Ignore("buf-size");
  CHAINFS_TRY(parameters.Finish());
  if (replaces) return Refuse("'replaces' is not supported: the target replaces the whole chain");
  CHAINFS_TRY(CheckSync(copy.sync, {"full", "top", "none"}));
  if (node) CHAINFS_TRY(client.nodes.CheckNewName(*node));
  verbs::Arguments arguments;
  arguments.Set("then", "hold").SetIf("copy-mode", copy_mode);
  CHAINFS_ASSIGN(const JobOrder order, OrderOf(client, "mirror", copy, by, std::move(arguments)));
  CHAINFS_TRY(StartJob(client, order));
  if (node) {
    CHAINFS_TRY(client.nodes.AddTarget(
        *node, {.format = copy.format.value_or("qcow2"), .path = copy.target}));
  }
  return nlohmann::ordered_json::object();
}

Answer Backup(Client& client, Parameters& parameters, TargetBy by) {
  CHAINFS_ASSIGN(const JobOrder order, TakeBackupOrder(client, parameters, by));
  CHAINFS_TRY(StartJob(client, order));
  return nlohmann::ordered_json::object();
}

}  // namespace

std::expected<JobOrder, QmpError> TakeBackupOrder(Client& client, Parameters& parameters,
                                                  TargetBy by) {
  const CopyParameters copy = TakeCopyParameters(parameters, by);
  const bool compress = parameters.Switch("compress", false);
  const bool by_bitmap =
      parameters.Any("bitmap") != nullptr || parameters.Any("bitmap-mode") != nullptr;
  parameters.Ignore("x-perf");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_TRY(CheckSync(copy.sync, {"full", "top"}));
  if (by_bitmap) return Refuse("bitmaps are not supported: since= of the verb backup does that");
  verbs::Arguments arguments;
  if (compress) arguments.Set("compress", "zlib");
  return OrderOf(client, "backup", copy, by, std::move(arguments));
}

Answer BlockdevMirror(Client& client, Parameters& parameters) {
  return Mirror(client, parameters, TargetBy::kNode);
}

Answer DriveMirror(Client& client, Parameters& parameters) {
  return Mirror(client, parameters, TargetBy::kFile);
}

Answer BlockdevBackup(Client& client, Parameters& parameters) {
  return Backup(client, parameters, TargetBy::kNode);
}

Answer DriveBackup(Client& client, Parameters& parameters) {
  return Backup(client, parameters, TargetBy::kFile);
}

Answer BlockJobChange(Client& client, Parameters& parameters) {
  const std::string id = parameters.Text("id");
  (void)parameters.Word("type", std::array<std::string_view, 1>{"mirror"});
  const std::string mode = parameters.Word("copy-mode", kCopyMode);
  CHAINFS_TRY(parameters.Finish());
  const std::optional<jobs::JobInfo> job = client.started.Find(id);
  if (!job) {
    return Refuse(fmt::format("Block job '{}' not found", id), kDeviceNotActive);
  }
  CHAINFS_TRY(
      client.OrderJob("change", verbs::Arguments().Set("id", id).Set("copy-mode", mode), *job));
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
