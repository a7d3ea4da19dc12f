// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/dereferences.h"

#include <new>

#include "blocklayer/formats/qcow2/corruption.h"

namespace chainfs::qcow2 {

void AppendDropped(const Geometry& geometry, const ClusterMapping& old, const ClusterMapping& now,
                   std::vector<uint64_t>& clusters) {
  if (old.has_cluster()) {
    // Keeping the same cluster under another flag is no dereference.
    const bool kept = now.has_cluster() && now.host == old.host;
    if (!kept) clusters.push_back(geometry.ClusterOf(old.host));
  } else if (old.kind == ClusterKind::kCompressed) {
    // One reference for each host cluster that the compressed bytes touch.
    const uint64_t first = geometry.ClusterOf(old.host);
    const uint64_t last = geometry.ClusterOf(old.host + (old.compressed_bytes - 1));
    for (uint64_t cluster = first; cluster <= last; ++cluster) clusters.push_back(cluster);
  }
}

Status Dereferences::Drop(std::span<const uint64_t> clusters) {
  size_t counted = 0;  // of them, as waiting
  const auto stop_waiting = [&] {
    for (const uint64_t cluster : clusters.first(counted)) StopWaiting(cluster);
  };
  try {
    Status status;
    while (status && counted < clusters.size()) {
      const uint64_t cluster = clusters[counted];
      const uint32_t waiting = ++waiting_[cluster];
      ++counted;
      status = CheckDrop(cluster, waiting);
    }
    if (status) {
      pending_.AddDereferenced(clusters);
    } else {
      stop_waiting();
    }
    return status;
  } catch (const std::bad_alloc&) {
    stop_waiting();
    throw;
  }
}

Status Dereferences::CheckDrop(uint64_t cluster, uint32_t waiting) {
  const uint64_t host = geometry_.HostOf(cluster).value;
  if (overlap_.Holds(cluster, 1)) {
    return CorruptEntry(path_, "L2 entry: it names metadata of the image, at", host);
  }
  CHAINFS_ASSIGN(const uint64_t refcount, refcounts_.Get(cluster));
  if (refcount < waiting) {
    return CorruptEntry(path_, "refcount (too low) of the cluster at", host);
  }
  return {};
}

void Dereferences::StopWaiting(uint64_t cluster) {
  const auto found = waiting_.find(cluster);
  if (--found->second == 0) waiting_.erase(found);
}

void Dereferences::DropTable(uint64_t first_cluster, uint64_t count) {
  overlap_.Remove(first_cluster, count);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t cluster = first_cluster + i;
    (void)Drop(std::span(&cluster, 1)).has_value();
  }
}

void Dereferences::DropSharedTable(uint64_t cluster) {
  ++waiting_[cluster];
  pending_.AddDereferenced(std::span(&cluster, 1));
}

std::vector<uint64_t> Dereferences::LastReferences(std::span<const uint64_t> clusters) {
  std::vector<uint64_t> last;
  for (size_t i = 0; i < clusters.size();) {
    size_t j = i + 1;
    while (j < clusters.size() && clusters[j] == clusters[i]) ++j;
    const Result<uint64_t> refcount = refcounts_.Get(clusters[i]);
    if (refcount && *refcount == j - i && !overlap_.Holds(clusters[i], 1)) {
      last.push_back(clusters[i]);
    }
    i = j;
  }
  return last;
}

void Dereferences::Release(std::span<const uint64_t> clusters) {
  for (const uint64_t cluster : clusters) {
    if (refcounts_.Change(cluster, -1)) StopWaiting(cluster);
  }
}

}  // namespace chainfs::qcow2
