// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/table_slices.h"

namespace chainfs::qcow2 {

Result<SlicePtr> TableSlices::Load(HostOffset offset) {
  return cache_.Get(
      owner_, offset, geometry_.slice_bytes(),
      [this, offset](std::span<std::byte> out) { return file_.ReadZeroFilled(offset, out); });
}

Result<SlicePtr> TableSlices::PutZeroed(HostOffset offset) {
  return cache_.PutZeroed(owner_, offset, geometry_.slice_bytes());
}

void TableSlices::Forget(uint64_t first_cluster, uint64_t count) {
  cache_.Forget(owner_, geometry_.HostOf(first_cluster), count << geometry_.cluster_bits,
                geometry_.slice_bytes());
}

}  // namespace chainfs::qcow2
