// SPDX-License-Identifier: Apache-2.0
//
// Client: what a command of one connection may use, and in whose name it acts. Everything that a
// command changes is ordered from ctl/control, as an attribute of a mount would order it.
//
// Threads: one command at a time per client.
#pragma once

#include <string>
#include <string_view>

#include "ctl/control/control_plane.h"
#include "ctl/qmp/node_table.h"
#include "ctl/qmp/qmp_error.h"
#include "ctl/qmp/started_jobs.h"
#include "ctl/verbs/arguments.h"

namespace chainfs::qmp {

struct Client {
  Catalog& catalog;
  control::ControlPlane& plane;
  NodeTable& nodes;
  StartedJobs& started;
  control::Caller caller;

  // Carries a verb out; `disk` null: on the mount. A refusal becomes the last error of the disk.
  Status Order(std::string_view verb, const verbs::Arguments& arguments, const DiskPtr& disk);
  void Remember(std::string_view verb, const DiskPtr& disk, const Error& refusal);
};

// How a job that a command starts is called, and what becomes of it.
struct JobChoice {
  std::string id;
  bool auto_dismiss = true;
};

// Starts the job `verb` on `disk`, under that id.
QmpStatus StartJob(Client& client, std::string_view verb, verbs::Arguments arguments,
                   const DiskPtr& disk, const JobChoice& choice);

}  // namespace chainfs::qmp
