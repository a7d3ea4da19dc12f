// SPDX-License-Identifier: Apache-2.0
//
// The end of references: checking that one may be taken away, and what becomes of clusters that
// lost it. See metadata.h for the rules.
//
// The refcount of a cluster goes down only when it leaves the quarantine, so before an entry gives
// it up its refcount is compared with all that is waiting already: a cluster that two entries name
// and one counts is never given up twice.
#include <algorithm>

#include "blocklayer/formats/qcow2/metadata.h"

namespace chainfs::qcow2 {

void Metadata::AppendDropped(const ClusterMapping& old, const ClusterMapping& now,
                             std::vector<uint64_t>& clusters) const {
  if (old.has_cluster()) {
    // Keeping the same cluster under another flag is no dereference.
    const bool kept = now.has_cluster() && now.host == old.host;
    if (!kept) clusters.push_back(geometry_.ClusterOf(old.host));
  } else if (old.kind == ClusterKind::kCompressed) {
    // One reference for each host cluster that the compressed bytes touch.
    const uint64_t first = geometry_.ClusterOf(old.host);
    const uint64_t last = geometry_.ClusterOf(old.host + (old.compressed_bytes - 1));
    for (uint64_t cluster = first; cluster <= last; ++cluster) clusters.push_back(cluster);
  }
}

Status Metadata::PlanDereferences(std::span<const uint64_t> clusters) {
  for (size_t i = 0; i < clusters.size(); ++i) {
    const uint64_t cluster = clusters[i];
    uint32_t& waiting = waiting_[cluster];
    ++waiting;
    Status status;
    if (HoldsMetadata(cluster, 1)) {
      status = CorruptEntry("L2 entry: it names metadata of the image, at",
                            geometry_.HostOf(cluster).value);
    } else if (const Result<uint64_t> refcount = Refcount(cluster); !refcount) {
      status = std::unexpected(refcount.error());
    } else if (*refcount < waiting) {
      status =
          CorruptEntry("refcount (too low) of the cluster at", geometry_.HostOf(cluster).value);
    }
    if (!status) {
      ForgetPlan(clusters.first(i + 1));
      return status;
    }
  }
  return {};
}

void Metadata::ForgetPlan(std::span<const uint64_t> clusters) {
  for (const uint64_t cluster : clusters) {
    const auto found = waiting_.find(cluster);
    if (--found->second == 0) waiting_.erase(found);
  }
}

void Metadata::DereferenceTable(uint64_t first_cluster, uint64_t count) {
  {
    WriterLock lock(overlap_mu_);
    metadata_clusters_.Remove(first_cluster, count);
  }
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t cluster = first_cluster + i;
    // What was not counted cannot be given back, and what cannot be looked up is a leak.
    if (PlanDereferences(std::span(&cluster, 1))) dereferenced_.push_back(cluster);
  }
  CountDirty();
}

std::vector<uint64_t> Metadata::TakeReleasable() {
  epoch_.TryAdvance();
  const uint64_t now = epoch_.epoch();
  std::vector<uint64_t> free;
  std::vector<Quarantined> still;
  for (const Quarantined& q : quarantine_) {
    if (now < q.epoch + 2) {
      still.push_back(q);
    } else {
      free.push_back(q.cluster);
    }
  }
  quarantine_.swap(still);
  std::ranges::sort(free);
  return free;
}

std::vector<uint64_t> Metadata::LastReferences(std::span<const uint64_t> clusters) {
  std::vector<uint64_t> last;
  for (size_t i = 0; i < clusters.size();) {
    size_t j = i + 1;
    while (j < clusters.size() && clusters[j] == clusters[i]) ++j;
    const Result<uint64_t> refcount = Refcount(clusters[i]);
    if (refcount && *refcount == j - i && !HoldsMetadata(clusters[i], 1)) {
      last.push_back(clusters[i]);
    }
    i = j;
  }
  return last;
}

void Metadata::ReleaseQuarantine() {
  if (quarantine_.empty()) return;
  const std::vector<uint64_t> free = TakeReleasable();

  // Space goes back to the host before the clusters can be found again. A host that cannot punch
  // holes keeps the space; that is all.
  std::vector<uint64_t> last_references;
  {
    MutexLock lock(mu_);
    last_references = LastReferences(free);
  }
  for (size_t i = 0; i < last_references.size();) {
    size_t j = i + 1;
    while (j < last_references.size() && last_references[j] == last_references[j - 1] + 1) ++j;
    if (!file_.PunchHole(geometry_.HostOf(last_references[i]), (j - i) << geometry_.cluster_bits)) {
      break;
    }
    i = j;
  }
  MutexLock lock(mu_);
  for (const uint64_t cluster : free) {
    // A failure is a leak, which is permitted.
    if (ChangeRefcount(cluster, -1)) ForgetPlan(std::span(&cluster, 1));
  }
}

}  // namespace chainfs::qcow2
