// SPDX-License-Identifier: Apache-2.0
//
// GroupStarter: several jobs, and snapshots, that start together: all of them or none, also after a
// crash between any two steps; and all points in time that they hold are one.
//
// Crash ordering. Each step is durable before the next one:
//   1. each job has its record, which names the group
//   2. jobs arrange what they need; of a type that undoes and holds no point, they begin
//   3. all snapshots are taken and all points held, at one moment, which also decides about the
//      group (blocklayer/catalog/group_record.h)
//   4. the others begin; each record forgets the group; the jobs are accepted
// Whoever finds a record of a group that was not decided undoes its job; of one that was, it goes
// on. A job that cannot begin in step 4 waits to be taken up: it has happened like the rest.
//
// Threads: all methods, any thread.
#pragma once

#include <string>
#include <vector>

#include "jobs/engine/job_starter.h"

namespace chainfs::jobs {

class GroupStarter {
 public:
  // All outlive this.
  GroupStarter(Catalog& catalog, JobRegistry& registry, JobStarter& starter)
      : catalog_(catalog), registry_(registry), starter_(starter) {}

  // All have been accepted, or nothing has happened. Errors as JobStarter::Start, with the verb and
  // the disk, and as ChainMoves::SnapshotTogether. No command is a dry run.
  Status Start(const std::vector<JobCommand>& commands, const std::vector<GroupMember>& snapshots);
  // What can be told to fail before anything is done; errors the same.
  Status Check(const std::vector<JobCommand>& commands, const std::vector<GroupMember>& snapshots);

 private:
  struct Member {
    StartingJob job;
    bool begun = false;  // as far as step 2
  };
  using Members = std::vector<Member>;

  Status MakeReady(const std::vector<JobCommand>& commands, const std::string& group,
                   Members& members);
  // Step 2.
  static Status Arrange(Members& members);
  // Step 3.
  Status Decide(const Members& members, const std::vector<GroupMember>& snapshots,
                const std::string& group);
  // Step 4.
  void Begin(Members members);
  // Whether somebody may find that the group has happened although it failed here.
  bool MayHaveHappened(const Members& members, const std::string& group) const;
  void TakeBack(Members members, const Error& reason);

  Catalog& catalog_;
  JobRegistry& registry_;
  JobStarter& starter_;
};

}  // namespace chainfs::jobs
