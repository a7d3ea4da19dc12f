// SPDX-License-Identifier: Apache-2.0
//
// DiskSource: a disk in use as a source, its active layer included. Guests write while it is read,
// so what a view says of the active layer is a hint: what has changed since it was entered may come
// out old, new, or in parts. Who copies from it listens to the disk (write_tap.h) and copies again
// what was changed meanwhile.
//
// Reading it is no use of the disk: it is not counted as a guest's load.
//
// Threads: as CopySource.
#pragma once

#include <memory>

#include "blocklayer/chain/disk.h"
#include "jobs/copy/copy_source.h"

namespace chainfs::jobs {

class DiskSource final : public CopySource {
 public:
  // `context` is that of the disk and outlives the source.
  DiskSource(DiskPtr disk, BlockContext& context);

  uint64_t size() const override { return disk_->size(); }
  std::unique_ptr<View> EnterReading() const override;

 private:
  const DiskPtr disk_;
  BlockContext& context_;
};

}  // namespace chainfs::jobs
