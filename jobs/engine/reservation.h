// SPDX-License-Identifier: Apache-2.0
//
// Reservation: the id, layers and place in the queue of a job, or of a short command on a disk,
// while it is being carried out. Given back by the destructor unless a job was accepted.
//
// Threads: one at a time. Outlived by the registry, whose end waits for it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "jobs/engine/job_registry.h"

namespace chainfs::jobs {

class Reservation {
 public:
  Reservation(Reservation&& other) noexcept
      : registry_(other.registry_),
        sequence_(std::exchange(other.sequence_, 0)),
        wanted_(std::move(other.wanted_)) {}
  Reservation& operator=(Reservation&&) = delete;
  ~Reservation() {
    if (sequence_ != 0) registry_.GiveBack(sequence_);
  }

  uint64_t sequence() const { return sequence_; }
  const std::string& id() const { return wanted_.id; }      // given or made
  const std::string& type() const { return wanted_.type; }  // of what it was reserved for
  const std::string& disk() const { return wanted_.disk; }
  // The job is shown from now on; in the place of the waiting job of `record`.
  void Accept(std::shared_ptr<ListedJob> job, const RecordStore::Record* record = nullptr) {
    registry_.Accept(std::exchange(sequence_, 0), std::move(job), record);
  }

 private:
  friend class JobRegistry;
  Reservation(JobRegistry& registry, uint64_t sequence, Admission wanted)
      : registry_(registry), sequence_(sequence), wanted_(std::move(wanted)) {}

  JobRegistry& registry_;
  uint64_t sequence_;  // 0: nothing is reserved any more
  Admission wanted_;   // without claims
};

}  // namespace chainfs::jobs
