// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/data_clusters.h"

#include <fmt/format.h>

#include <vector>

namespace chainfs::qcow2 {

Result<ClusterRun> DataClusters::Allocate(GuestOffset guest, uint64_t want) {
  const Geometry& geometry = tables_.geometry;
  if (geometry.external_data) {
    // What was there before is not known to be zeros.
    return ClusterRun{
        .first = guest.value >> geometry.cluster_bits, .count = want, .beyond_file = false};
  }
  MutexLock lock(tables_.mu);
  return tables_.allocator.Allocate(want);
}

Result<ClusterRun> DataClusters::AllocateUnused(uint64_t want) {
  MutexLock lock(tables_.mu);
  return tables_.allocator.AllocateUnused(want);
}

Status DataClusters::SetUsers(const ClusterRun& run, std::span<const uint64_t> users) {
  MutexLock lock(tables_.mu);
  std::vector<uint64_t> references(run.count, 1);  // that are counted now
  for (uint64_t i = 0; i < users.size(); ++i) {
    for (; references[i] < users[i]; ++references[i]) {
      Status counted = tables_.refcounts.Change(run.first + i, +1);
      if (counted) continue;
      for (uint64_t j = 0; j < run.count; ++j) {
        for (; references[j] > 0; --references[j]) {
          tables_.allocator.Release({.first = run.first + j, .count = 1, .beyond_file = false});
        }
      }
      return counted;
    }
  }
  tables_.allocator.Release(
      {.first = run.first + users.size(), .count = run.count - users.size(), .beyond_file = false});
  return {};
}

void DataClusters::ReleaseUnlinked(const ClusterRun& run) {
  if (tables_.geometry.external_data) return;
  MutexLock lock(tables_.mu);
  tables_.allocator.Release(run);
}

void DataClusters::StopWaiting(std::span<const uint64_t> vacated) {
  MutexLock lock(tables_.mu);
  tables_.vacated.Remove(vacated);
}

bool DataClusters::Waits(uint64_t vacated) {
  MutexLock lock(tables_.mu);
  return tables_.vacated.Waits(vacated);
}

Status DataClusters::Check(GuestOffset guest, uint64_t first_cluster, uint64_t count) {
  const Geometry& geometry = tables_.geometry;
  if (geometry.external_data) return {};  // no metadata is there
  const uint64_t end = geometry.HostOf(first_cluster + count).value;
  bool sound = !tables_.overlap.Holds(first_cluster, count);
  if (sound && end > tables_.written_end.Get()) {
    // Legal for clusters that were allocated and never written; only then the file may grow there.
    MutexLock lock(tables_.mu);
    for (uint64_t i = 0; sound && i < count; ++i) {
      CHAINFS_ASSIGN(const uint64_t refcount, tables_.refcounts.Get(first_cluster + i));
      sound = refcount > 0;
    }
    if (sound) tables_.written_end.Note(end);
  }
  if (sound) return {};
  return Fail(ErrorKind::kCorrupt,
              fmt::format("{}: the image is corrupt: guest offset {:#x} is mapped onto metadata or "
                          "a free cluster, at {:#x}; look at it with qemu-img check",
                          tables_.file.path(), guest.value, geometry.HostOf(first_cluster).value));
}

}  // namespace chainfs::qcow2
