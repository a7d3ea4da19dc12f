// SPDX-License-Identifier: Apache-2.0
//
// ClusterWriter: guest writes. Cluster by cluster, there are three ways:
//
//   in place    the cluster is linked, unshared (COPIED) and plain: one write, no lock
//   reuse       it reads as zeros but keeps a host cluster: all of it is filled, then the zero flag
//               is cleared
//   allocate    anything else: a new cluster is filled completely (what the guest does not write
//               comes from what the cluster showed before), then linked; the old one is
//               dereferenced
//
// Filling comes before linking (Q2-8), and a link reaches the disk only after a sync (Q2-2).
//
// Threads: any. What links holds the image's range lock across its I/O; all I/O at mapped host
// offsets is done under a guard of its epoch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blocklayer/formats/qcow2/cluster_reader.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/io_epoch.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/image/writable_image.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Entries that link the run to as many guest clusters.
std::vector<L2Entry> NormalEntries(const Geometry& geometry, const ClusterRun& run);

class ClusterWriter {
 public:
  // All must outlive this.
  ClusterWriter(File& file, ImageTables& tables, const ClusterReader& reader, RangeLock& range_lock,
                IoEpoch& epoch)
      : file_(file), tables_(tables), reader_(reader), range_lock_(range_lock), epoch_(epoch) {}

  // The range lies within the disk. kCorrupt: a table of this image is broken.
  Status Write(GuestOffset offset, std::span<const std::byte> data, const BackingReader* below);

 private:
  // Bytes from an offset on that lie in one run of in-place clusters; 0: none.
  struct InPlaceRun {
    uint64_t length = 0;
    HostOffset host;
  };
  Result<InPlaceRun> FindInPlace(GuestOffset offset, uint64_t length);
  // Clusters from the one of `offset` on, at most `wanted`, that are written alike: all fresh, or
  // all reused where they lie.
  Result<std::vector<ClusterMapping>> FindAlike(GuestOffset first, uint64_t wanted);
  // Everything that links: `offset`.. lies in clusters under the range lock. Writes at least one
  // cluster's share and returns the bytes done.
  Result<uint64_t> WriteLinking(GuestOffset offset, std::span<const std::byte> data,
                                const BackingReader* below);
  // `run` with what the guest writes, and around it what its first and last cluster showed before.
  Status Fill(GuestOffset offset, std::span<const std::byte> data, const ClusterRun& run,
              const ClusterMapping& first_before, const ClusterMapping& last_before,
              const BackingReader* below);

  File& file_;
  ImageTables& tables_;
  const ClusterReader& reader_;
  RangeLock& range_lock_;
  IoEpoch& epoch_;
};

}  // namespace chainfs::qcow2
