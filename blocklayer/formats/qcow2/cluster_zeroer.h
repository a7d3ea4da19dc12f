// SPDX-License-Identifier: Apache-2.0
//
// ClusterZeroer: discard, write-zeroes, and what growing exposes: what makes ranges read as zeros.
//
// A discarded cluster gets the zero flag (version 3), never "unallocated" where a backing file
// would shine through. Version 2 has no such flag: without a backing file the entry becomes empty;
// with one, discard changes nothing and write-zeroes writes zeros. With extended L2 entries whole
// subclusters are zeroed like clusters, but keep their place until all of the cluster is zero.
//
// Threads: any. Whole clusters are changed under the image's range lock, a batch at a time.
#pragma once

#include <cstdint>

#include "blocklayer/formats/qcow2/cluster_writer.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs::qcow2 {

class ClusterZeroer {
 public:
  // All must outlive this. `opened_with_backing`: what the header said when the image was opened.
  ClusterZeroer(ImageTables& tables, ClusterWriter& writer, RangeLock& range_lock,
                bool opened_with_backing)
      : tables_(tables),
        writer_(writer),
        range_lock_(range_lock),
        opened_with_backing_(opened_with_backing) {}

  // As the methods of WritableImage; the range lies within the disk. kCorrupt: a table of this
  // image is broken.
  Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                     const BackingReader* below);
  Status Discard(GuestOffset offset, uint64_t length);
  // Before the disk grows from `old_size` to `new_size`: what becomes visible reads as zeros, also
  // where the backing, `backing_size` bytes long, is longer.
  Status ZeroExposed(uint64_t old_size, uint64_t new_size, const BackingReader* below,
                     uint64_t backing_size);
  // After the disk has shrunk: what its last cluster holds beyond the end.
  Status ZeroBeyondEnd();

 private:
  enum class ZeroWish : uint8_t { kKeepAllocated, kGiveBack };
  // The whole clusters within a range; none if begin >= end. The end of the disk counts as the end
  // of a cluster.
  struct WholeClusters {
    uint64_t begin;
    uint64_t end;
  };
  WholeClusters WholeClustersOf(GuestOffset offset, uint64_t length) const;
  // Whether something may shine through an unallocated cluster. When a stream has ended, whoever
  // reads goes on with the old list of layers for a moment: in version 3 all that shows through it
  // are zeros by then, but version 2 has no other way to zero an allocated cluster than to make it
  // unallocated, and what it was copied from would show again.
  bool HasBelow() const {
    return tables_.header().backing().has_value() ||
           (opened_with_backing_ && tables_.geometry().version < 3);
  }
  Status ZeroClusters(GuestOffset first, uint64_t clusters, ZeroWish wish);
  Status ZeroWholeClusters(GuestOffset first, uint64_t clusters, ZeroWish wish);
  // The subclusters `first` to `last` of a cluster. False: they are compressed, and not changed.
  Result<bool> ZeroSubclusters(GuestOffset cluster, uint32_t first, uint32_t last, ZeroWish wish);
  // Within one cluster.
  Status ZeroPartial(GuestOffset offset, uint64_t length, ZeroWish wish,
                     const BackingReader* below);
  // Within one subcluster, or in a cluster that is alike throughout.
  Status ZeroAlike(GuestOffset offset, uint64_t length, const BackingReader* below);
  Status WriteZeroBytes(GuestOffset offset, uint64_t length, const BackingReader* below);
  Status ZeroRange(GuestOffset offset, uint64_t length, ZeroWish wish, const BackingReader* below);

  ImageTables& tables_;
  ClusterWriter& writer_;
  RangeLock& range_lock_;
  const bool opened_with_backing_;
};

}  // namespace chainfs::qcow2
