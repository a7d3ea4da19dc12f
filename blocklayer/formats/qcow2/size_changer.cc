// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/size_changer.h"

namespace chainfs::qcow2 {

Status SizeChanger::Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t old_size = tables_.header().virtual_size();
  if (new_size == old_size) return {};
  CHAINFS_TRY(tables_.GrowL1For(new_size));
  const uint64_t old_end = RoundUp(old_size, cluster_size);
  const uint64_t new_end = RoundUp(new_size, cluster_size);
  CHAINFS_TRY(populator_.Unpopulate(GuestOffset(old_end), new_end - old_end));
  CHAINFS_TRY(zeroer_.ZeroExposed(old_size, new_size, below, backing_size));
  if (data_file_ != nullptr) CHAINFS_TRY(data_file_->Grow(old_size, new_size));
  CHAINFS_TRY(tables_.ledger().Commit());
  return tables_.header().SetVirtualSize(new_size);
}

Status SizeChanger::Shrink(uint64_t new_size) {
  const uint64_t cluster_size = tables_.geometry().cluster_size();
  const uint64_t old_end = RoundUp(tables_.header().virtual_size(), cluster_size);
  CHAINFS_TRY(tables_.header().SetVirtualSize(new_size));
  const uint64_t new_end = RoundUp(new_size, cluster_size);
  // An external data file is cut off there.
  if (data_file_ == nullptr) CHAINFS_TRY(zeroer_.ZeroBeyondEnd());
  CHAINFS_TRY(populator_.Unpopulate(GuestOffset(new_end), old_end - new_end));
  CHAINFS_TRY(tables_.ledger().Commit());
  return data_file_ != nullptr ? data_file_->Shrink(new_size) : Status();
}

}  // namespace chainfs::qcow2
