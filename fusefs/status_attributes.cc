// SPDX-License-Identifier: Apache-2.0
#include "fusefs/status_attributes.h"

#include <unistd.h>

#include "blocklayer/base/version/version.h"
#include "ctl/control/status_json.h"

namespace chainfs::fusefs {
namespace {

using Value = std::optional<std::string>;

constexpr std::string_view kJobPrefix = "job.";

struct Row {
  std::string_view name;
  bool on_disk;
  bool on_root;
  Value (*value)(MountState& mount, Node& node);
};

std::string_view DiskName(const Node& node) {
  return node.disk == nullptr ? std::string_view() : node.disk->name();
}

Value JobValue(MountState& mount, const Node& node, std::string_view id) {
  const std::optional<jobs::JobInfo> job = mount.jobs.Find(DiskName(node), id);
  if (!job) return std::nullopt;
  return jobs::JobToJson(*job);
}

Value ErrorValue(MountState&, Node& node) {
  const MutexLock lock(node.mu);
  if (node.last_error.empty()) return std::nullopt;
  return node.last_error;
}

Value ConfigValue(MountState& mount, Node&) {
  const Options& options = mount.options;
  return control::ConfigJson({.pid = ::getpid(),
                              .mountpoint = options.mountpoint,
                              .sources = &options.source_texts,
                              .catalog = &mount.catalog.options(),
                              .threads = mount.threads,
                              .direct_io = options.direct_io,
                              .writeback_cache = options.writeback_cache,
                              .allow_other = options.allow_other});
}

constexpr Row kRows[] = {
    {"info", true, false,
     [](MountState&, Node& node) -> Value { return control::DiskInfoJson(*node.disk); }},
    {"chain", true, false,
     [](MountState&, Node& node) -> Value {
       return control::ChainJson(*node.disk, control::kMaxAttributeListBytes);
     }},
    {"jobs", true, true,
     [](MountState& mount, Node& node) -> Value {
       return control::JobsJson(mount.jobs.Jobs(DiskName(node)), control::kMaxAttributeListBytes);
     }},
    {"job", true, false,
     [](MountState& mount, Node& node) -> Value { return JobValue(mount, node, ""); }},
    {"error", true, true, &ErrorValue},
    {"version", false, true, [](MountState&, Node&) -> Value { return Version(); }},
    {"config", false, true, &ConfigValue},
};

bool Belongs(const Row& row, const Node& node) {
  return node.kind == NodeKind::kDisk ? row.on_disk : node.kind == NodeKind::kRoot && row.on_root;
}

}  // namespace

bool IsStatusName(std::string_view name) {
  if (name.starts_with(kJobPrefix)) return true;
  for (const Row& row : kRows) {
    if (row.name == name) return true;
  }
  return false;
}

std::optional<std::string> StatusValue(MountState& mount, Node& node, std::string_view name) {
  if (node.kind == NodeKind::kDisk && name.starts_with(kJobPrefix)) {
    const std::string_view id = name.substr(kJobPrefix.size());
    return id.empty() ? std::nullopt : JobValue(mount, node, id);
  }
  for (const Row& row : kRows) {
    if (row.name == name && Belongs(row, node)) return row.value(mount, node);
  }
  return std::nullopt;
}

std::vector<std::string> StatusNames(MountState& mount, Node& node) {
  std::vector<std::string> names;
  for (const Row& row : kRows) {
    if (Belongs(row, node) && row.value(mount, node)) {
      names.push_back(std::string(kAttributePrefix) + std::string(row.name));
    }
  }
  return names;
}

}  // namespace chainfs::fusefs
