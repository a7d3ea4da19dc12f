// SPDX-License-Identifier: Apache-2.0
//
// SizeChanger: growing and shrinking the disk of an image. The size is one field of the header, so
// a crash leaves the old one or the new one.
//
// Crash ordering. Growing: all tables can map the new size, and what becomes visible reads as
// zeros, durably; then the header. Shrinking: the header first, then what lies beyond is given
// back. So clusters may lie beyond the end, which growing therefore takes away first.
//
// Threads: one change at a time; the caller keeps changes of the image out.
#pragma once

#include <cstdint>

#include "blocklayer/formats/qcow2/cluster_populator.h"
#include "blocklayer/formats/qcow2/cluster_zeroer.h"
#include "blocklayer/formats/qcow2/data_file_space.h"
#include "blocklayer/formats/qcow2/image_tables.h"

namespace chainfs::qcow2 {

class SizeChanger {
 public:
  // All must outlive this. `data_file`: null where there is no external one.
  SizeChanger(ImageTables& tables, ClusterPopulator& populator, ClusterZeroer& zeroer,
              DataFileSpace* data_file = nullptr)
      : tables_(tables), populator_(populator), zeroer_(zeroer), data_file_(data_file) {}

  // As the methods of WritableImage, of an image that may be changed. kCorrupt: a table of this
  // image is broken.
  Status Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size);
  Status Shrink(uint64_t new_size);

 private:
  ImageTables& tables_;
  ClusterPopulator& populator_;
  ClusterZeroer& zeroer_;
  DataFileSpace* const data_file_;
};

}  // namespace chainfs::qcow2
