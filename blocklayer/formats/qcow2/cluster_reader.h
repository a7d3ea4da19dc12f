// SPDX-License-Identifier: Apache-2.0
//
// ClusterReader: what an image shows, cluster by cluster: mapping ranges to extents, decoding
// compressed clusters, and what a cluster showed before it is written.
//
// Threads: all methods, any thread. Whoever uses host offsets holds an IoEpoch guard.
#pragma once

#include <cstdint>
#include <span>

#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/writable_image.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class ClusterReader {
 public:
  // Both must outlive this. `file` has the guest data; it is the image's source number
  // `data_source`. `compression_type` is the header's.
  ClusterReader(File& file, const ImageTables& tables, uint8_t compression_type,
                uint16_t data_source = 0)
      : file_(file),
        tables_(tables),
        compression_type_(compression_type),
        data_source_(data_source) {}

  // As Image::Map; the range lies within the disk.
  Result<Extent> Map(GuestOffset offset, uint64_t length) const;
  // Decodes the cluster whose at most `compressed_bytes` bytes begin at `host` into `out`, exactly
  // one cluster. What cannot be decoded is kIo: no table is wrong.
  Status ReadCompressed(HostOffset host, uint32_t compressed_bytes, std::span<std::byte> out) const;
  // What the guest bytes from `offset` on, within one cluster with this mapping, show.
  Status ReadBefore(const ClusterMapping& mapping, GuestOffset offset, std::span<std::byte> out,
                    const BackingReader* below) const;

 private:
  // From some byte of a cluster on, what is alike.
  struct Part {
    ClusterKind kind;
    uint64_t length;  // bytes, within the cluster
  };
  Part PartAt(const ClusterMapping& mapping, uint64_t within) const;
  Status ReadPart(const ClusterMapping& mapping, ClusterKind kind, GuestOffset offset,
                  std::span<std::byte> out, const BackingReader* below) const;

  File& file_;
  const ImageTables& tables_;
  const uint8_t compression_type_;
  const uint16_t data_source_;
};

}  // namespace chainfs::qcow2
