// SPDX-License-Identifier: Apache-2.0
//
// CompressedPopulator: what an image does not hold is filled in with compressed clusters. Those of
// one call lie close together: several share a host cluster, and one may reach into the next. Each
// counts as a reference to every host cluster that it touches.
//
// They are put only where nothing was ever written, so that a place which was read as compressed
// never comes to hold other compressed bytes (decoded_cache.h relies on that).
//
// Threads: any. Each call holds the image's range lock across its I/O.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blocklayer/formats/qcow2/cluster_populator.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/compression.h"
#include "blocklayer/image/range_lock.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class CompressedPopulator {
 public:
  // All must outlive this.
  CompressedPopulator(File& file, ImageTables& tables, ClusterPopulator& plain,
                      RangeLock& range_lock, uint8_t compression_type)
      : file_(file),
        tables_(tables),
        plain_(plain),
        range_lock_(range_lock),
        compression_type_(compression_type) {}

  // As WritableImage::PopulateCompressed. kCorrupt: a table of this image is broken.
  Status Populate(std::span<const CompressedCluster> clusters);

 private:
  using Clusters = std::vector<CompressedCluster>;

  Status Check(std::span<const CompressedCluster> clusters) const;
  // Those that are of this kind.
  Result<Clusters> OfKind(ClusterKind kind, std::span<const CompressedCluster> clusters) const;
  // What is unallocated of the others, some of which is not: an entry of a compressed cluster has
  // no subclusters.
  Status PopulatePlain(std::span<const CompressedCluster> mixed);
  // Stores and links the first of them, at least one, and returns how many.
  Result<uint64_t> Store(std::span<const CompressedCluster> clusters);
  // Links each of them to its place.
  Status Link(std::span<const CompressedCluster> clusters, std::span<const HostOffset> places);
  // Takes the references of what was not linked away again.
  void GiveUp(std::span<const CompressedCluster> clusters, std::span<const HostOffset> places);

  File& file_;
  ImageTables& tables_;
  ClusterPopulator& plain_;
  RangeLock& range_lock_;
  const uint8_t compression_type_;  // of the header
};

}  // namespace chainfs::qcow2
