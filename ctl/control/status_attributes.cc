// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/status_attributes.h"

#include <algorithm>
#include <utility>

#include "blocklayer/base/version/version.h"
#include "ctl/verbs/status_table.h"

namespace chainfs::control {
namespace {

constexpr std::string_view kJobPrefix = "job.";

std::string_view DiskNameOf(const ServedDisk* disk) {
  return disk == nullptr ? std::string_view() : disk->disk->name();
}

}  // namespace

struct StatusAttributes::Row {
  std::string_view name;
  std::optional<std::string> (*value)(const StatusAttributes& self, const ServedDisk* disk);

  bool Belongs(const ServedDisk* disk) const {
    const verbs::StatusAttribute* const row = verbs::FindStatusAttribute(name);
    return row != nullptr &&
           row->scope != (disk != nullptr ? verbs::Scope::kMount : verbs::Scope::kDisk);
  }
};

StatusAttributes::StatusAttributes(const Catalog& catalog, const jobs::JobManager& jobs,
                                   const LastErrors& errors, const ChainLimits& limits,
                                   const ReadTraces& traces, MountConfig config)
    : catalog_(catalog),
      jobs_(jobs),
      errors_(errors),
      limits_(limits),
      traces_(traces),
      config_(std::move(config)) {}

const std::vector<StatusAttributes::Row>& StatusAttributes::Rows() {
  using Value = std::optional<std::string>;
  static const std::vector<Row> rows = {
      {"info",
       [](const StatusAttributes& self, const ServedDisk* disk) -> Value {
         return DiskInfoJson(*disk->disk, self.limits_.Of(disk->disk->name()),
                             self.traces_.FileOf(*disk->disk));
       }},
      {"chain",
       [](const StatusAttributes&, const ServedDisk* disk) -> Value {
         return ChainJson(*disk->disk, kMaxAttributeListBytes);
       }},
      {"jobs",
       [](const StatusAttributes& self, const ServedDisk* disk) -> Value {
         return JobsJson(self.jobs_.Jobs(DiskNameOf(disk)), kMaxAttributeListBytes);
       }},
      {"job",
       [](const StatusAttributes& self, const ServedDisk* disk) -> Value {
         return self.Job(*disk, "");
       }},
      {"error",
       [](const StatusAttributes& self, const ServedDisk* disk) -> Value {
         std::string last = self.errors_.Of(disk);
         if (last.empty()) return std::nullopt;
         return last;
       }},
      {"version", [](const StatusAttributes&, const ServedDisk*) -> Value { return Version(); }},
      {"config",
       [](const StatusAttributes& self, const ServedDisk*) -> Value {
         return ConfigJson(self.config_, self.catalog_.options());
       }},
  };
  return rows;
}

bool StatusAttributes::IsName(std::string_view name) {
  return name.starts_with(kJobPrefix) ||
         std::ranges::find(Rows(), name, &Row::name) != Rows().end();
}

std::optional<std::string> StatusAttributes::Value(const ServedDisk* disk,
                                                   std::string_view name) const {
  if (disk != nullptr && name.starts_with(kJobPrefix)) {
    const std::string_view id = name.substr(kJobPrefix.size());
    return id.empty() ? std::nullopt : Job(*disk, id);
  }
  const auto row = std::ranges::find(Rows(), name, &Row::name);
  if (row == Rows().end() || !row->Belongs(disk)) return std::nullopt;
  return row->value(*this, disk);
}

std::vector<std::string> StatusAttributes::Names(const ServedDisk* disk) const {
  std::vector<std::string> names;
  for (const Row& row : Rows()) {
    if (row.Belongs(disk) && row.value(*this, disk)) names.emplace_back(row.name);
  }
  return names;
}

std::optional<std::string> StatusAttributes::Job(const ServedDisk& disk,
                                                 std::string_view id) const {
  const std::optional<jobs::JobInfo> job = jobs_.Find(disk.disk->name(), id);
  if (!job) return std::nullopt;
  return jobs::JobToJson(*job);
}

}  // namespace chainfs::control
