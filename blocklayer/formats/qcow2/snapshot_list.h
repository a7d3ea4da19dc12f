// SPDX-License-Identifier: Apache-2.0
//
// SnapshotList: what an open image knows of its internal snapshots: how many there are, and of the
// first ones what people and the catalog ask for. Fixed while the image is open: chainfs makes and
// deletes none, and its locks keep others from doing so.
//
// Threads: a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blocklayer/formats/qcow2/snapshot_table.h"
#include "blocklayer/image/image_snapshots.h"

namespace chainfs::qcow2 {

class SnapshotList {
 public:
  static constexpr size_t kMaxKept = 1024;
  static constexpr size_t kMaxTextBytes = 255;  // of an id or a name; QEMU's are shorter

  // Errors are those of ForEachSnapshot.
  static Result<SnapshotList> Read(File& file, const Qcow2Header& header);

  const ImageSnapshots& shown() const { return shown_; }
  // Whether the disk may change its size: not while a snapshot does not say how large it is.
  // kUnsupported.
  Status CheckResizable(const std::string& path) const;
  // The header of an image that shows what shown().kept[index] does: its L1 table and its size.
  // kCorrupt where its L1 table cannot map its disk.
  Result<Qcow2Header> HeaderOf(const std::string& path, const Qcow2Header& header,
                               size_t index) const;

 private:
  struct L1Place {
    HostOffset offset;
    uint32_t entries = 0;
  };
  ImageSnapshots shown_;
  std::vector<L1Place> places_;  // one for each that is kept
};

}  // namespace chainfs::qcow2
