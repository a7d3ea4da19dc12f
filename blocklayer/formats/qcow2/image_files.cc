// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/image_files.h"

namespace chainfs::qcow2 {

Status ImageFiles::ReopenForWriting() {
  // The data file first: nobody takes the image for writable by itself.
  if (data_) CHAINFS_TRY(data_->ReopenForWriting());
  return image_->ReopenForWriting();
}

Status ImageFiles::SetLocks(const ImageLockSet& locks) {
  CHAINFS_TRY(image_->SetImageLocks(locks));
  if (data_) {
    Status set = data_->SetImageLocks(DataFileLocks(locks));
    if (!set) {
      // What others were allowed beside them cannot conflict.
      (void)image_->SetImageLocks(locks_);
      return set;
    }
  }
  locks_ = locks;
  return {};
}

Result<uint64_t> ImageFiles::AllocatedBytes() {
  CHAINFS_ASSIGN(const FileStat stat, image_->Stat());
  if (!data_) return stat.allocated_bytes;
  CHAINFS_ASSIGN(const FileStat data, data_->Stat());
  return stat.allocated_bytes + data.allocated_bytes;
}

}  // namespace chainfs::qcow2
