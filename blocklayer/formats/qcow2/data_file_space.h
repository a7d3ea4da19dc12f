// SPDX-License-Identifier: Apache-2.0
//
// DataFileSpace: what an external data file needs beside the data that is written to it: its size
// follows the disk, and places that nothing is mapped to go back to the host. A *raw* one
// (autoclear bit 1) reads as the disk by itself, so zeros are written to it, and all of a disk that
// grows is mapped at once, as QEMU does.
//
// Threads: any; the sizes are changed one at a time, with other changes of the image kept out.
// Locks: the image's range lock, held across I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/io_epoch.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class DataFileSpace {
 public:
  // All must outlive this.
  DataFileSpace(File& data, bool raw, ImageTables& tables, RangeLock& range_lock, IoEpoch& epoch)
      : data_(data), raw_(raw), tables_(tables), range_lock_(range_lock), epoch_(epoch) {}

  // After a commit: punches what that has vacated, unless it is mapped again.
  void GiveBack();
  // A raw one: the range, which lies within the disk, reads as zeros. `keep_allocated` as for
  // WritableImage::WriteZeroes.
  Status Zero(GuestOffset offset, uint64_t length, bool keep_allocated);
  // The same of the whole clusters in it.
  Status Discard(GuestOffset offset, uint64_t length);
  // Before the disk grows: the file has the new size, and what a raw one shows behind the old are
  // zeros, mapped.
  Status Grow(uint64_t old_size, uint64_t new_size);
  // After the disk has shrunk, durably.
  Status Shrink(uint64_t new_size);

 private:
  // The clusters `first` to `end` - 1; the host's refusal is none.
  bool GiveBackRun(uint64_t first, uint64_t end);
  Status MapAll(uint64_t begin, uint64_t end);

  File& data_;
  const bool raw_;
  ImageTables& tables_;
  RangeLock& range_lock_;
  IoEpoch& epoch_;
};

}  // namespace chainfs::qcow2
