// SPDX-License-Identifier: Apache-2.0
//
// Image: one layer, whatever its format, as its readers see it. Mapping (where do these guest bytes
// live?) is separate from data I/O, so the resolver, the jobs, SEEK_HOLE and `map` are all
// consumers of Map. A format that chainfs only reads implements this alone; one that it also writes
// implements WritableImage (writable_image.h).
//
// Terms: *unallocated* means that the layer says nothing about a range and the layer below decides.
//
// Threads: all methods may be called from any thread at once. Reading takes no lock that is held
// across I/O:
//
//     const IoEpoch::Guard guard = image.io_epoch().Enter();
//     Map(...), then read at the host offsets that it named, then drop the guard.
//
// While a guard lives, no cluster that Map named is given to another use (design: a freed cluster
// is reused only after its dereference is durable *and* all I/O that could have seen it has ended).
//
// Ranges: offset + length must not exceed virtual_size(); a range beyond it is kInvalidArgument.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"
#include "blocklayer/image/bitmap_info.h"
#include "blocklayer/image/compression.h"
#include "blocklayer/image/cut_count.h"
#include "blocklayer/image/image_format.h"
#include "blocklayer/image/image_snapshots.h"
#include "blocklayer/image/io_epoch.h"
#include "blocklayer/io/file.h"

namespace chainfs {

enum class ExtentKind : uint8_t {
  kUnallocated,  // the layer below decides
  kZero,         // reads as zeros here, whatever lies below
  kData,         // `length` bytes at `host` of the source, one for one
  kCompressed,   // one cluster, compressed; see ReadCompressed
};

struct Extent {
  ExtentKind kind = ExtentKind::kUnallocated;
  uint64_t length = 0;  // guest bytes from the offset asked for, > 0
  // kData: where those bytes lie. kCompressed: where the cluster's compressed bytes begin.
  HostOffset host = {};
  uint32_t compressed_bytes = 0;  // kCompressed: upper bound of the compressed length
  uint16_t source = 0;            // kData, kCompressed: in which of the image's sources that is
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

class WritableImage;

class Image {
 public:
  virtual ~Image() = default;

  virtual ImageFormat format() const = 0;
  // The file that names the image: it is locked, looked at and shown.
  virtual File& file() = 0;
  // Where the data that Map names lies: source 0 is file(). Their number does not change while the
  // image is open, and is less than 65536.
  virtual uint16_t source_count() const { return 1; }
  ByteSource& source(uint16_t number) { return number == 0 ? file() : FurtherSource(number); }
  // Those of its sources that are files of the host, file() first.
  std::vector<File*> HostFiles();
  // A failed sync has ended all writing of one of them.
  bool poisoned();
  // As File::SetImageLocks; of all its files.
  virtual Status SetImageLocks(const ImageLockSet& locks) { return file().SetImageLocks(locks); }
  // As File::ChangedByOthers; any of them.
  bool ChangedByOthers();
  // Bytes; a multiple of 512 for qcow2. Changes only by WritableImage::Grow and Shrink.
  virtual uint64_t virtual_size() const = 0;
  // Bytes, a power of two: the unit of allocation (raw: 4096).
  virtual uint32_t cluster_size() const = 0;
  // Whether parts of a cluster can be allocated each for itself, so that a first write of one does
  // not copy the rest from below.
  virtual bool has_subclusters() const { return false; }
  virtual std::optional<BackingReference> backing() const = 0;
  // How what it holds compressed is compressed; nothing where it holds nothing so.
  virtual std::optional<ImageCompression> compression() const { return std::nullopt; }
  // Snapshots within the image file. Fixed while it is open.
  virtual const ImageSnapshots& snapshots() const;
  // One of them, as an image that is only read; it uses the file of this one, which must outlive
  // it. `owner` as in ImageOpenOptions. kCorrupt where it is broken.
  virtual Result<std::unique_ptr<Image>> OpenSnapshot(size_t index, uint64_t owner);
  // Bytes that the image file occupies on the host.
  virtual Result<uint64_t> AllocatedBytes() = 0;
  // Its persistent bitmaps, as far as the format has any.
  virtual Result<std::vector<BitmapInfo>> Bitmaps() { return std::vector<BitmapInfo>(); }
  IoEpoch& io_epoch() { return io_epoch_; }
  // Kept by whoever has it made shorter.
  CutCount& cuts() { return cuts_; }

  // The writing side of the same image; null where chainfs only reads the format.
  virtual WritableImage* writer() { return nullptr; }
  // Whether the methods of writer() that change something may be called; false for files opened
  // read-only, images with features that chainfs only reads, and images that turned out to be
  // corrupt or whose flush failed.
  virtual bool writable() const { return false; }
  // Why writable() is false, one phrase for people; empty when it is true.
  virtual std::string read_only_reason() const;

  // The extent that begins at `offset`, at most `length` (> 0) bytes long. Adjacent clusters that
  // continue each other in one source come as one extent, as far as a bounded number of them goes.
  // May load metadata.
  virtual Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail detail) = 0;
  // Decodes the compressed cluster that `extent` (as Map gave it) lies in into `out`, exactly
  // cluster_size bytes. For formats
  // whose Map never answers kCompressed: kUnsupported.
  virtual Status ReadCompressed(const Extent& extent, std::span<std::byte> out);

 protected:
  // For images with more sources than one: 0 < `number` < source_count().
  virtual ByteSource& FurtherSource(uint16_t /*number*/) { return file(); }

  IoEpoch io_epoch_;

 private:
  CutCount cuts_;
};

}  // namespace chainfs
