// SPDX-License-Identifier: Apache-2.0
//
// StatusAttributes: the registry of what can be read as user.chainfs.NAME, on a disk or on the
// mount, and how its value is made. Values are made anew at each reading. A new one is a row here
// and in ctl/verbs/status_table, which says of what it is an attribute.
//
// Threads: all methods, any thread; no lock of its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog.h"
#include "ctl/control/chain_limits.h"
#include "ctl/control/last_errors.h"
#include "ctl/control/read_traces.h"
#include "ctl/control/served_disks.h"
#include "ctl/control/status_json.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

inline constexpr std::string_view kAttributePrefix = "user.chainfs.";

// All names come without the prefix. A null `disk` means the mount.
class StatusAttributes {
 public:
  // All must outlive this.
  StatusAttributes(const Catalog& catalog, const jobs::JobManager& jobs, const LastErrors& errors,
                   const ChainLimits& limits, const ReadTraces& traces, MountConfig config);

  // Whether `name` is a status attribute of anything.
  static bool IsName(std::string_view name);
  // Nothing when there is no such attribute of it now.
  std::optional<std::string> Value(const ServedDisk* disk, std::string_view name) const;
  // What there is of it now.
  std::vector<std::string> Names(const ServedDisk* disk) const;

 private:
  struct Row;
  static const std::vector<Row>& Rows();

  std::optional<std::string> Job(const ServedDisk& disk, std::string_view id) const;

  const Catalog& catalog_;
  const jobs::JobManager& jobs_;
  const LastErrors& errors_;
  const ChainLimits& limits_;
  const ReadTraces& traces_;
  const MountConfig config_;
};

}  // namespace chainfs::control
