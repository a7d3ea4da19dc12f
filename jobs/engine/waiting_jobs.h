// SPDX-License-Identifier: Apache-2.0
//
// WaitingJobs: records beside the images that could not be taken up yet, and who has which in hand.
//
// Threads: none; the owner locks.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/record_store.h"
#include "jobs/engine/job_info.h"
#include "jobs/engine/job_record.h"

namespace chainfs::jobs {

struct WaitingJob {
  std::shared_ptr<const RecordStore::Record> record;
  std::string id;              // as the record's name has it
  Result<JobRecord> contents;  // the error says why they make no sense
  std::string reason = {};     // why it was not taken up
  bool in_hand = false;        // somebody tries it, or removes it
  bool again = false;          // something has changed since that began
  uint64_t round = 0;          // of tries, in which it was last looked at
  std::chrono::system_clock::time_point since = {};

  JobInfo Info() const;
};

class WaitingJobs {
 public:
  using Record = RecordStore::Record;

  static WaitingJob Make(Record record);
  void Add(WaitingJob job) { jobs_.push_back(std::move(job)); }
  void Erase(const Record& record);
  const std::vector<WaitingJob>& jobs() const { return jobs_; }
  bool Has(std::string_view id) const;
  // Null: none. The first of `disk` (empty: any) and `id` (empty: any).
  const WaitingJob* Find(std::string_view disk, std::string_view id) const;
  std::vector<JobInfo> Infos(std::string_view disk) const;  // `disk` empty: of all
  // What the record of one that is in hand holds by now; it is to be tried again.
  void Replace(Record record);
  // Whether the reason is a new one.
  bool SetReason(const Record& record, const std::string& reason);

  uint64_t NextRound() { return ++rounds_; }
  // The next that was not looked at in this round, now in hand; null: none is left. One that
  // somebody else has in hand is left to them, who will look again.
  std::shared_ptr<const Record> TakeNext(uint64_t round);
  // The same for one that is named; null: there is none, or somebody has it in hand.
  std::shared_ptr<const Record> TakeNamed(std::string_view disk, std::string_view id);
  // Whether something has changed meanwhile, so that it is to be tried again.
  bool PutDown(const Record& record);
  size_t in_hand() const { return in_hand_; }

 private:
  WaitingJob* Of(const Record& record);
  void TakeInHand(WaitingJob& job);

  std::vector<WaitingJob> jobs_;
  size_t in_hand_ = 0;
  uint64_t rounds_ = 0;
};

}  // namespace chainfs::jobs
