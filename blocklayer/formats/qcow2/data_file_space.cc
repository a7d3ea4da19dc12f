// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/data_file_space.h"

#include <algorithm>

#include "blocklayer/formats/qcow2/cluster_writer.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kClustersAtOnce = 4096;       // under one hold of the range lock
constexpr uint64_t kZeroedAtOnce = 64ull << 20;  // bytes

}  // namespace

void DataFileSpace::GiveBack() {
  const std::vector<uint64_t> vacated = tables_.ledger().TakeVacated();
  tables_.clusters().StopWaiting(vacated);
  for (size_t i = 0; i < vacated.size();) {
    size_t j = i + 1;
    while (j < vacated.size() && vacated[j] - vacated[j - 1] <= 1 && j - i < kClustersAtOnce) ++j;
    if (!GiveBackRun(vacated[i], vacated[j - 1] + 1)) return;
    i = j;
  }
}

bool DataFileSpace::GiveBackRun(uint64_t first, uint64_t end) {
  const Geometry& geometry = tables_.geometry();
  const GuestOffset begin(first << geometry.cluster_bits);
  const RangeLock::Holder holder(range_lock_, begin, (end - first) << geometry.cluster_bits);
  const auto is_free = [&](uint64_t cluster) {
    const Result<ClusterMapping> mapping =
        tables_.l2().Lookup(GuestOffset(cluster << geometry.cluster_bits));
    return mapping && !mapping->has_cluster() && !tables_.clusters().Waits(cluster);
  };
  for (uint64_t i = first; i < end; ++i) {
    uint64_t j = i;
    while (j < end && is_free(j)) ++j;
    if (j == i) continue;
    if (!data_.PunchHole(geometry.HostOf(i), (j - i) << geometry.cluster_bits)) return false;
    i = j;  // which is not free, or the end
  }
  return true;
}

Status DataFileSpace::Zero(GuestOffset offset, uint64_t length, bool keep_allocated) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  for (uint64_t done = 0; done < length;) {
    const GuestOffset at = offset + done;
    const uint64_t piece = std::min(length - done, kZeroedAtOnce);
    const GuestOffset begin = at.AlignDown(cluster_size);
    const uint64_t end = RoundUp(at.value + piece, cluster_size);
    const RangeLock::Holder holder(range_lock_, begin, end - begin.value);
    const IoEpoch::Guard guard = epoch_.Enter();
    const bool punched = !keep_allocated && data_.PunchHole(HostOffset(at.value), piece);
    if (!punched) CHAINFS_TRY(data_.ZeroRange(HostOffset(at.value), piece));
    done += piece;
  }
  return {};
}

Status DataFileSpace::Discard(GuestOffset offset, uint64_t length) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t size = tables_.header().virtual_size();
  const uint64_t begin = RoundUp(offset.value, cluster_size);
  const uint64_t end = offset.value + length;
  const uint64_t whole_end = end == size ? end : RoundDown(end, cluster_size);
  return begin < whole_end ? Zero(GuestOffset(begin), whole_end - begin, false) : Status();
}

Status DataFileSpace::Grow(uint64_t old_size, uint64_t new_size) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  CHAINFS_ASSIGN(const uint64_t there, data_.Size());
  if (raw_ && there > old_size) {
    CHAINFS_TRY(data_.ZeroRange(HostOffset(old_size), std::min(there, new_size) - old_size));
  }
  if (there != new_size) CHAINFS_TRY(data_.Truncate(new_size));
  return raw_ ? MapAll(RoundUp(old_size, cluster_size), RoundUp(new_size, cluster_size)) : Status();
}

Status DataFileSpace::MapAll(uint64_t begin, uint64_t end) {
  const Geometry& geometry = tables_.geometry();
  for (GuestOffset at(begin); at.value < end;) {
    const ClusterRun run{
        .first = at.value >> geometry.cluster_bits,
        .count = std::min((end - at.value) >> geometry.cluster_bits, kClustersAtOnce),
        .beyond_file = false};
    const uint64_t bytes = run.count << geometry.cluster_bits;
    {
      const RangeLock::Holder holder(range_lock_, at, bytes);
      CHAINFS_TRY(tables_.l2().SetEntries(at, NormalEntries(geometry, run)));
    }
    CHAINFS_TRY(tables_.ledger().CommitIfMuchIsPending());
    at += bytes;
  }
  return {};
}

Status DataFileSpace::Shrink(uint64_t new_size) {
  CHAINFS_ASSIGN(const uint64_t there, data_.Size());
  return there > new_size ? data_.Truncate(new_size) : Status();
}

}  // namespace chainfs::qcow2
