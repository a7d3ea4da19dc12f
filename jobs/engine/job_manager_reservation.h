// SPDX-License-Identifier: Apache-2.0
//
// Reservation: a job's id, layers and place in the queue while a command is still being carried
// out. Given back by the destructor unless the job was accepted.
//
// Threads: one at a time.
#pragma once

#include <memory>
#include <string>

#include "jobs/engine/job_manager_impl.h"

namespace chainfs::jobs {

class JobManager::Impl::Reservation {
 public:
  explicit Reservation(Impl& impl) : impl_(impl) {}
  ~Reservation() { GiveBack(); }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  uint64_t sequence() const { return sequence_; }
  const std::string& id() const { return id_; }
  void GiveBack();
  // Announces the job and shows it from now on; in the place of the waiting job of `record`.
  void Accept(std::shared_ptr<JobRun> run, const Catalog::Record* record = nullptr);

 private:
  friend class Impl;
  Impl& impl_;
  uint64_t sequence_ = 0;  // 0: nothing is reserved
  std::string id_;
};

}  // namespace chainfs::jobs
