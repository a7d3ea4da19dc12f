// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/commit_ledger.h"

#include <fmt/format.h>

#include <new>
#include <utility>
#include <vector>

namespace chainfs::qcow2 {

Status CommitLedger::CommitNow() {
  // Fails, and says why.
  if (tables_.file.poisoned()) return tables_.file.DataSync();
  if (tables_.data.poisoned()) return tables_.data.DataSync();
  if (tables_.header.uncertain()) {
    return Fail(ErrorKind::kIo,
                fmt::format("{}: the header could not be written; unmount, check the "
                            "image and mount again",
                            tables_.file.path()));
  }
  CommitBatch batch;
  {
    MutexLock lock(tables_.mu);
    batch = tables_.pending.Take(tables_.refcounts.table(), tables_.refcounts.table_offset(),
                                 tables_.l1.end());
    tables_.pending.SetUnderWay(&batch);
  }
  Status written;
  try {
    written = batch.Write(tables_.file, tables_.data);
  } catch (const std::bad_alloc&) {
    written = Fail(ErrorKind::kNoMemory, "out of memory");  // short: needs none itself
  }
  {
    MutexLock lock(tables_.mu);
    tables_.pending.SetUnderWay(nullptr);
    if (!written) {
      tables_.pending.PutBack(std::move(batch), tables_.refcounts.table_offset());
      return written;
    }
  }
  quarantine_.Add(batch.dereferenced, epoch_.epoch());
  vacated_.Add(batch.vacated, epoch_.epoch());
  return {};
}

Status CommitLedger::Commit() {
  const uint64_t ticket = requests_.fetch_add(1, std::memory_order_acq_rel) + 1;
  MutexLock lock(commit_mu_);
  // A commit that began after this request was made has done its work.
  if (covered_ >= ticket) return {};
  const uint64_t covered = requests_.load(std::memory_order_acquire);
  CHAINFS_TRY(CommitNow());
  covered_ = covered;
  ReleaseQuarantine();
  return {};
}

Status CommitLedger::CommitThen(const std::function<Status()>& change) {
  MutexLock lock(commit_mu_);
  CHAINFS_TRY(CommitNow());
  return change();
}

bool CommitLedger::HasPending() {
  MutexLock commit_lock(commit_mu_);
  if (!quarantine_.empty() || !vacated_.empty()) return true;
  MutexLock lock(tables_.mu);
  return !tables_.pending.empty();
}

Status CommitLedger::CommitAndRelease() {
  CHAINFS_TRY(Commit());
  MutexLock lock(commit_mu_);
  for (int i = 0; i < 3 && !quarantine_.empty(); ++i) ReleaseQuarantine();
  return CommitNow();
}

std::vector<uint64_t> CommitLedger::TakeVacated() {
  MutexLock lock(commit_mu_);
  if (vacated_.empty()) return {};
  epoch_.TryAdvance();
  return vacated_.TakeReleasable(epoch_.epoch());
}

void CommitLedger::ReleaseQuarantine() {
  if (quarantine_.empty()) return;
  epoch_.TryAdvance();
  const std::vector<uint64_t> free = quarantine_.TakeReleasable(epoch_.epoch());

  // Space goes back to the host before the clusters can be found again. A host that cannot punch
  // holes keeps the space; that is all.
  std::vector<uint64_t> last;
  {
    MutexLock lock(tables_.mu);
    last = tables_.dereferences.LastReferences(free);
  }
  const Geometry& geometry = tables_.geometry;
  for (size_t i = 0; i < last.size();) {
    size_t j = i + 1;
    while (j < last.size() && last[j] == last[j - 1] + 1) ++j;
    if (!tables_.file.PunchHole(geometry.HostOf(last[i]), (j - i) << geometry.cluster_bits)) break;
    i = j;
  }
  MutexLock lock(tables_.mu);
  tables_.dereferences.Release(free);
}

}  // namespace chainfs::qcow2
