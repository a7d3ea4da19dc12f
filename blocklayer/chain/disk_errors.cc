// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/disk_errors.h"

#include <utility>

namespace chainfs {
namespace {

// The caller asked for what cannot be; nobody else needs to hear of it.
bool IsCallersFault(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kReadOnly:
    case ErrorKind::kUnsupported:
    case ErrorKind::kStale:
    case ErrorKind::kCancelled:
    case ErrorKind::kShutdown:
      return true;
    default:
      return false;
  }
}

}  // namespace

void DiskErrors::SetObserver(Observer observer) {
  auto shared = observer ? std::make_shared<const Observer>(std::move(observer)) : nullptr;
  const MutexLock lock(mu_);
  observer_.swap(shared);
}

void DiskErrors::Tell(const Disk& disk, std::string_view operation, const Error& error) const {
  if (IsCallersFault(error.kind)) return;
  std::shared_ptr<const Observer> observer;
  {
    const MutexLock lock(mu_);
    observer = observer_;
  }
  if (observer) (*observer)(disk, operation, error);
}

}  // namespace chainfs
