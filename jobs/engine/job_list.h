// SPDX-License-Identifier: Apache-2.0
//
// JobList: the jobs of the mount, oldest first: those whose place is reserved, those that run or
// wait for a place to run, and the history.
//
// Terms: an *entry* is a job from the moment its id and its layers are reserved. It is *accepted*
// once it has a job; only accepted ones are shown. It is *started* when it holds one of the places
// for running jobs.
//
// Threads: none; the owner locks.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/engine/job_options.h"
#include "jobs/engine/layer_claims.h"
#include "jobs/engine/listed_job.h"

namespace chainfs::jobs {

struct JobEntry {
  uint64_t sequence = 0;
  std::string id;
  std::string disk;
  std::vector<std::string> other_disks = {};  // that it is about as well
  std::optional<LayerClaims> claims;          // until the layers are free again
  std::shared_ptr<ListedJob> job;             // once accepted
  Priority priority = Priority::kNormal;
  bool alone = false;   // no other job of the disk meanwhile
  bool queues = false;  // takes a place in the queue
  bool started = false;
  bool released = false;  // uses no layer any more; what is left is to say so
  bool concluded = false;
  bool dismissed = false;  // to be forgotten as soon as it has concluded

  bool IsAbout(std::string_view name) const {
    return disk == name || std::ranges::find(other_disks, name) != other_disks.end();
  }
};

class JobList {
 public:
  static constexpr size_t kHistory = 32;   // concluded jobs that are remembered, per disk
  static constexpr size_t kEstimates = 8;  // and dry runs, which take no other job's place

  using Entries = std::vector<std::unique_ptr<JobEntry>>;

  // Gives it the next sequence number, which is returned.
  uint64_t Add(std::unique_ptr<JobEntry> entry);
  // Null when there is none of that number.
  JobEntry* Of(uint64_t sequence) const;
  std::unique_ptr<JobEntry> Remove(uint64_t sequence);
  const Entries& entries() const { return entries_; }
  // Whether the id is taken, which ends when it is dismissed.
  bool Has(std::string_view id) const;

  // Accepted ones that nobody has dismissed, newest first; `disk` empty: of all disks.
  std::vector<std::shared_ptr<ListedJob>> Shown(std::string_view disk) const;
  // The newest of those, of that id unless it is empty; null: none.
  std::shared_ptr<ListedJob> Newest(std::string_view disk, std::string_view id) const;

  size_t queued() const;  // entries that wait for a place to run
  // As many as there are places for, up to `places` in all, of higher priority first; they hold
  // them from now on.
  std::vector<std::shared_ptr<ListedJob>> TakePlaces(size_t places);
  // Forgets the oldest of the history of `disk` that is too much.
  void Trim(std::string_view disk, bool estimates);

 private:
  Entries entries_;
  uint64_t next_sequence_ = 1;
};

}  // namespace chainfs::jobs
