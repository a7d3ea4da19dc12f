// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/disk_access.h"

#include "blocklayer/base/wake_up.h"

namespace chainfs {

// Inlined, GCC 12 takes it for the use of a member that an empty optional does not have.
DiskAccess::Ticket::~Ticket() {
  if (access_ != nullptr) access_->Return(writes_);
}

bool DiskAccess::Stop() {
  const bool was_stopped = stopped_.exchange(true);
  close_awaited_.store(true);
  if (writers_.load() != 0) {
    stopped_.store(was_stopped);
    return false;
  }
  close_awaited_.store(false);
  return true;
}

bool DiskAccess::CloseToReaders() {
  const bool was_closed = closed_.exchange(true);
  if (readers_.load() == 0) return true;
  closed_.store(was_closed);
  return false;
}

void DiskAccess::Return(bool writes) {
  if (!writes) {
    readers_.fetch_sub(1);
    return;
  }
  if (writers_.fetch_sub(1) == 1 && close_awaited_.exchange(false)) wake_up_.Call();
}

void DiskAccess::Forbid(std::string why) {
  {
    const MutexLock lock(mu_);
    forbidden_reason_ = std::move(why);
  }
  forbidden_.store(true);
}

void DiskAccess::SetReason(std::string why) {
  const MutexLock lock(mu_);
  reason_ = std::move(why);
}

std::string DiskAccess::Reason() const {
  const MutexLock lock(mu_);
  if (!forbidden_reason_.empty()) return forbidden_reason_;
  return stopped_.load() ? reason_ : "";
}

}  // namespace chainfs
