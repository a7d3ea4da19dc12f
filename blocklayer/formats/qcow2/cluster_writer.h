// SPDX-License-Identifier: Apache-2.0
//
// ClusterWriter: writes of guests, and of jobs that overwrite. Cluster by cluster, there are three
// ways:
//
//   in place    the cluster is linked, unshared (COPIED) and plain: one write, no lock
//   reuse       it reads as zeros but keeps a host cluster: all of it is filled, then the zero flag
//               is cleared
//   allocate    anything else: a new cluster is filled completely (what is not written comes from
//               what the cluster showed before), then linked; the old one is dereferenced
//
// With extended L2 entries the first two go by subclusters, and so does the third unless all data
// of the old cluster has to move to the new one: what is filled are the subclusters that are
// touched; the others stay what they were.
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
#include "blocklayer/formats/qcow2/cluster_unsharer.h"
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
      : file_(file),
        tables_(tables),
        reader_(reader),
        unsharer_(file, tables),
        range_lock_(range_lock),
        epoch_(epoch) {}

  // The range lies within the disk. kCorrupt: a table of this image is broken.
  Status Write(GuestOffset offset, std::span<const std::byte> data, const BackingReader* below);
  // The same with the bytes of `source` from `source_offset` on, which stay within the host. The
  // range begins aligned and ends aligned or with the disk. kUnsupported: the files cannot do that.
  Status WriteFromFile(GuestOffset offset, uint64_t length, File& source, HostOffset source_offset);

 private:
  // Where a write lies in fresh or reused clusters, how many bytes before and behind it have to be
  // filled, and what the first and the last cluster showed.
  struct LinkedPart {
    const ClusterRun& run;
    uint64_t head;
    uint64_t tail;
    const ClusterMapping& first_before;
    const ClusterMapping& last_before;
  };
  // What is written: some bytes to follow one another from a guest offset on.
  class Contents {
   public:
    virtual ~Contents() = default;
    // `bytes` of them, from number `skip` on, to the linked clusters at `host`.
    virtual Status Overwrite(uint64_t skip, uint64_t bytes, HostOffset host) = 0;
    // `bytes` of them, which belong at `offset`, and what surrounds them in these clusters.
    virtual Status Fill(uint64_t skip, uint64_t bytes, GuestOffset offset,
                        const LinkedPart& part) = 0;
  };
  class GuestContents;
  class FileContents;

  // Bytes from an offset on that lie in one run of in-place clusters; 0: none.
  struct InPlaceRun {
    uint64_t length = 0;
    HostOffset host;
  };
  Result<InPlaceRun> FindInPlace(GuestOffset offset, uint64_t length);
  // Clusters from the one of `offset` on, at most `wanted`, that are written alike: all fresh, or
  // all reused where they lie.
  Result<std::vector<ClusterMapping>> FindAlike(GuestOffset first, uint64_t wanted);
  // What is filled as a whole when a part of this cluster is written: bytes, a power of two.
  uint64_t FillUnit(const ClusterMapping& before) const;
  // Up to where something is filled that ends with a unit, and what is written of it before that.
  // An external data file does not outgrow the disk.
  uint64_t FilledEnd(uint64_t unit_end, uint64_t written_end) const;
  // How much of the write may be linked at once, at most `length` bytes: in a cluster that has a
  // place, up to what can be written in place.
  uint64_t LinkableBytes(const ClusterMapping& before, GuestOffset offset, uint64_t length) const;
  // That link the run, when the `bytes` bytes at `offset` and what surrounds them are filled.
  std::vector<L2Entry> LinkingEntries(std::span<const ClusterMapping> before, GuestOffset offset,
                                      uint64_t bytes, const LinkedPart& part) const;
  Status WriteAll(GuestOffset offset, uint64_t length, Contents& contents);
  // Everything that links: the `length` bytes at `offset`, number `skip` of the contents, lie in
  // clusters under the range lock. Writes at least one cluster's share and returns the bytes done.
  Result<uint64_t> WriteLinking(GuestOffset offset, uint64_t length, uint64_t skip,
                                Contents& contents);

  File& file_;
  ImageTables& tables_;
  const ClusterReader& reader_;
  ClusterUnsharer unsharer_;
  RangeLock& range_lock_;
  IoEpoch& epoch_;
};

}  // namespace chainfs::qcow2
