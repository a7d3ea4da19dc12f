// SPDX-License-Identifier: Apache-2.0
//
// Image: one layer, whatever its format. Mapping (where do these guest bytes live?) is separate
// from data I/O, so the resolver, the jobs, SEEK_HOLE and `map` are all consumers of Map.
//
// Terms: *unallocated* means that the layer says nothing about a range and the layer below decides;
// *populate* means to give clusters that are unallocated here the contents that they already show,
// so that nothing visible changes.
//
// Threads: all methods may be called from any thread at once; writes to overlapping ranges are
// ordered by the image itself, cluster by cluster. Reading takes no lock that is held across I/O:
//
//     const IoEpoch::Guard guard = image.io_epoch().Enter();
//     Map(...), then read at the host offsets that it named, then drop the guard.
//
// While a guard lives, no cluster that Map named is given to another use (design: a freed cluster
// is reused only after its dereference is durable *and* all I/O that could have seen it has ended).
//
// Ranges: offset + length must not exceed virtual_size(); a range beyond it is kInvalidArgument.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"
#include "blocklayer/image/io_epoch.h"
#include "blocklayer/io/file.h"

namespace chainfs {

enum class ImageFormat : uint8_t { kRaw, kQcow2 };
// "raw", "qcow2".
std::string_view ImageFormatName(ImageFormat format);
// Exactly those two words; nothing for any other.
std::optional<ImageFormat> ParseImageFormat(std::string_view word);

enum class ExtentKind : uint8_t {
  kUnallocated,  // the layer below decides
  kZero,         // reads as zeros here, whatever lies below
  kData,         // `length` bytes at `host`, one for one
  kCompressed,   // one cluster, compressed; see ReadCompressed
};

struct Extent {
  ExtentKind kind = ExtentKind::kUnallocated;
  uint64_t length = 0;  // guest bytes from the offset asked for, > 0
  // kData: where those bytes lie. kCompressed: where the cluster's compressed bytes begin.
  HostOffset host = {};
  uint32_t compressed_bytes = 0;  // kCompressed: upper bound of the compressed length
};

enum class MapDetail : uint8_t {
  kFast,     // what I/O needs; a raw image is all data
  kPrecise,  // also the holes that the host file system knows of (raw images); costs system calls
};

// What an image header says of its backing file.
struct BackingReference {
  std::string name;                   // as stored: relative to the image's directory, or absolute
  std::optional<std::string> format;  // the header's format word; never guessed
  bool operator==(const BackingReference&) const = default;
};

// The contents beneath a layer, for copy-on-write of partly written clusters. Reads past its end
// are zeros. Any thread.
class BackingReader {
 public:
  virtual ~BackingReader() = default;
  virtual Status ReadBelow(GuestOffset offset, std::span<std::byte> out) const = 0;
};

class Image {
 public:
  virtual ~Image() = default;

  virtual ImageFormat format() const = 0;
  virtual File& file() = 0;
  // Bytes; a multiple of 512 for qcow2. Grows only by Grow.
  virtual uint64_t virtual_size() const = 0;
  // Bytes, a power of two: the unit of allocation (raw: 4096).
  virtual uint32_t cluster_size() const = 0;
  // Whether writing methods may be called; false for files opened read-only, images with features
  // that chainfs only reads, and images that turned out to be corrupt or whose flush failed.
  virtual bool writable() const = 0;
  // Why writable() is false, one phrase for people; empty when it is true.
  virtual std::string read_only_reason() const = 0;
  // An image that was opened for reading can be written from now on, reads under way go on. The
  // caller holds a writer's locks and keeps other calls of this out. kReadOnly when the image
  // itself forbids it (read_only_reason() says why), else what File::ReopenForWriting says.
  virtual Status MakeWritable();
  virtual std::optional<BackingReference> backing() const = 0;
  // Bytes that the image file occupies on the host.
  virtual Result<uint64_t> AllocatedBytes() = 0;
  IoEpoch& io_epoch() { return io_epoch_; }

  // The extent that begins at `offset`, at most `length` (> 0) bytes long. Adjacent clusters that
  // continue each other in the file come as one extent, as far as a bounded number of them goes.
  // May load metadata.
  virtual Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) = 0;
  // Decodes the compressed cluster that contains `cluster_start` (aligned to cluster_size) as named
  // by `extent` (whose host offset Map gave) into `out`, exactly cluster_size bytes.
  virtual Status ReadCompressed(const Extent& extent, std::span<std::byte> out) = 0;

  // Guest writes. `below` supplies what surrounds a partly written, so far unallocated cluster;
  // null means zeros.
  virtual Status Write(GuestOffset offset, std::span<const std::byte> data,
                       const BackingReader* below) = 0;
  // The range reads as zeros from now on. Keeps allocated clusters when `keep_allocated` (the
  // caller wants later writes not to fail for space), else gives whole clusters back.
  virtual Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                             const BackingReader* below) = 0;
  // Gives back whole clusters within the range; they read as zeros afterwards. Partial clusters,
  // and images that cannot express it (qcow2 v2 with a backing file), are left unchanged.
  virtual Status Discard(GuestOffset offset, uint64_t length) = 0;

  // Job writes. `offset` is cluster-aligned and the range ends cluster-aligned or at
  // virtual_size(). Clusters of the range that are allocated by now are left alone.
  virtual Status Populate(GuestOffset offset, std::span<const std::byte> data) = 0;
  virtual Status PopulateZeroes(GuestOffset offset, uint64_t length) = 0;
  // Populates from `source` at `source_offset` without reading the data into this process.
  // kUnsupported where the files cannot; nothing was changed then.
  virtual Status PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                                  HostOffset source_offset) = 0;

  // Makes everything acknowledged so far durable, metadata included, in the safe order.
  virtual Status Flush() = 0;
  // Whether further flushes would do something without another write: metadata that is not on disk
  // yet, clusters that can be given back to the host only now. Waits for a flush under way.
  virtual bool HasPending() { return false; }
  // Enlarges to `new_size` (> virtual_size(), a multiple of 512); the new range reads as zeros even
  // where the backing, `backing_size` bytes long and read through `below`, is longer. The caller
  // keeps other writers out. Durable on return.
  virtual Status Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) = 0;
  // From now on Grow hides a backing of `bytes` bytes even where the present one is shorter: a job
  // is about to put a longer one in its place. 0: no more.
  void SetGrowthCover(uint64_t bytes) { growth_cover_.store(bytes, std::memory_order_release); }
  // Whether SetBacking to this reference can be done atomically; the error says why not.
  virtual Status CanSetBacking(const std::optional<BackingReference>& backing) = 0;
  // Changes the header's backing file in one sector write, after Flush; durable on return. A crash
  // leaves the old or the new name. The caller vouches that contents stay the same.
  virtual Status SetBacking(const std::optional<BackingReference>& backing) = 0;
  // Flush, and leave the file as a cleanly closed image. No writing afterwards.
  virtual Status Close() = 0;

 protected:
  IoEpoch io_epoch_;
  std::atomic<uint64_t> growth_cover_ = 0;
};

}  // namespace chainfs
