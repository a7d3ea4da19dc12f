// SPDX-License-Identifier: Apache-2.0
//
// Client: what a command of one connection may use, and in whose name it acts. Everything that a
// command changes is ordered from ctl/control, as an attribute of a mount would order it.
//
// Threads: one command at a time per client.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

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

  // Carries a verb out. A refusal becomes the last error of the disk. QMP-7.
  Status Order(std::string_view verb, const verbs::Arguments& arguments, const DiskPtr& disk);
  // About a job that is there.
  Status OrderJob(std::string_view verb, const verbs::Arguments& arguments,
                  const jobs::JobInfo& job);
  void Remember(std::string_view verb, const DiskPtr& disk, const Error& refusal);
};

// How a job that a command starts is called, and what becomes of it.
struct JobChoice {
  std::string id;
  bool auto_dismiss = true;
};

// A job that is to be started, checked as far as this can be without doing it.
struct JobOrder {
  std::string verb;
  DiskPtr disk;
  verbs::Arguments arguments;  // but for the id
  JobChoice choice;
};
QmpStatus StartJob(Client& client, const JobOrder& order);

// Whether a new job may be called so.
QmpStatus CheckNewJobId(Client& client, const std::string& id);
// Carries out what starts jobs of these ids, again when an id is held by a job that is just
// leaving.
Status StartUnderIds(Client& client, const std::vector<std::string>& ids,
                     const std::function<Status()>& start);

}  // namespace chainfs::qmp
