// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/preallocation.h"

#include <algorithm>
#include <vector>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kZerosAtOnce = 1 << 20;

L2Entry PreallocatedEntry(const Geometry& geometry, HostOffset place) {
  if (!geometry.extended_l2) return geometry.l2().Normal(place);
  ClusterMapping empty;
  empty.host = place;
  empty.copied = true;
  return geometry.l2().WithSubclusters(empty);
}

Status WriteMapping(File& file, const NewLayout& layout) {
  const Geometry& geometry = layout.geometry;
  std::vector<std::byte> l1(layout.l1_clusters << geometry.cluster_bits);
  std::vector<std::byte> table(geometry.cluster_size());
  for (uint64_t t = 0; t < layout.l2_tables; ++t) {
    const HostOffset at = geometry.HostOf(layout.first_l2() + t);
    StoreBigEndian(l1.data() + t * 8, at.value | kEntryCopied);
    const uint64_t first = t * geometry.l2_entries();
    const uint64_t count = std::min(layout.data_clusters - first, geometry.l2_entries());
    std::ranges::fill(table, std::byte{0});
    for (uint64_t i = 0; i < count; ++i) {
      const HostOffset place = geometry.HostOf(layout.first_data() + first + i);
      geometry.l2().Store(table.data(), i, PreallocatedEntry(geometry, place));
    }
    CHAINFS_TRY(file.WriteAt(at, table));
  }
  return file.WriteAt(geometry.HostOf(layout.l1_cluster()), l1);
}

Status FillWithZeros(File& file, HostOffset offset, uint64_t length) {
  const std::vector<std::byte> zeros(std::min(length, kZerosAtOnce));
  for (uint64_t done = 0; done < length;) {
    const uint64_t share = std::min(length - done, kZerosAtOnce);
    CHAINFS_TRY(file.WriteAt(offset + done, std::span(zeros).first(share)));
    done += share;
  }
  return {};
}

}  // namespace

Status WritePreallocated(File& file, const NewLayout& layout, Preallocation preallocation) {
  if (preallocation == Preallocation::kOff) return {};
  const HostOffset data = layout.geometry.HostOf(layout.first_data());
  const uint64_t length = layout.data_clusters << layout.geometry.cluster_bits;
  if (preallocation == Preallocation::kFalloc) {
    Status set_aside = file.Allocate(data, length);
    if (!set_aside && set_aside.error().kind != ErrorKind::kUnsupported) return set_aside;
    // As posix_fallocate does where the host cannot.
    if (!set_aside) CHAINFS_TRY(FillWithZeros(file, data, length));
  }
  if (preallocation == Preallocation::kFull) CHAINFS_TRY(FillWithZeros(file, data, length));
  return WriteMapping(file, layout);
}

}  // namespace chainfs::qcow2
