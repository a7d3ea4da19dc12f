// SPDX-License-Identifier: Apache-2.0
//
// Trying again what could not be opened, and letting go of what is remembered of things that are
// gone.
#include <algorithm>
#include <cerrno>

#include "blocklayer/catalog/catalog_impl.h"

namespace chainfs {
namespace {

bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool SameFiles(const std::vector<LayerFile>& files, const std::vector<FileStat>& stats) {
  return std::ranges::equal(files, stats, [](const LayerFile& file, const FileStat& stat) {
    return file.stat.id == stat.id && file.stat.size == stat.size &&
           SameTime(file.stat.modified, stat.modified) && SameTime(file.stat.changed, stat.changed);
  });
}

}  // namespace

bool Catalog::Impl::IsWorthOpening(Entry& entry) {
  if (!entry.error || entry.walked.error || entry.error->kind == ErrorKind::kBusy) return true;
  if (!SameFiles(entry.walked.files, entry.opened_as)) {
    entry.opening.Reset();
    return true;
  }
  if (!IsPassing(*entry.error)) return false;
  const MutexLock lock(list_mu_);
  const bool asked = asked_for_.erase(entry.name) > 0;
  return asked || entry.opening.IsDue();
}

// It is looked at in every scan, but somebody must see to it that there is one.
void Catalog::Impl::LookFailed(Entry& entry) {
  if (IsPassing(*entry.error) && entry.opening.IsDue()) entry.opening.Failed();
}

bool Catalog::Impl::IsTriedAgain(const Entry& entry) {
  return entry.error && IsPassing(*entry.error) && entry.opening.next();
}

void Catalog::Impl::NameTheLimit(Error& error) {
  if (error.sys_errno == EMFILE) {
    error.message += "; raise the limit (LimitNOFILE= of the service, ulimit -n)";
  } else if (error.sys_errno == ENFILE) {
    error.message += "; raise the limit of the host (sysctl fs.file-max)";
  }
}

void Catalog::Impl::ForgetTheGone() {
  std::erase_if(ghosts_, [](const std::weak_ptr<Disk>& ghost) { return ghost.expired(); });
  pool_.Prune();
  roots_.Prune();
  records_.Prune();
}

void Catalog::Impl::PublishNextRetry() {
  next_retry_.reset();
  for (const auto& [path, entry] : entries_) {
    std::optional<Backoff::Clock::time_point> next;
    if (entry.disk != nullptr) {
      next = entry.thawing.next();
    } else if (IsTriedAgain(entry)) {
      next = entry.opening.next();
    }
    if (next && (!next_retry_ || *next < *next_retry_)) next_retry_ = next;
  }
}

}  // namespace chainfs
