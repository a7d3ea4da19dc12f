// SPDX-License-Identifier: Apache-2.0
//
// WritableImage: an image of a format that chainfs writes: guest writes, job writes, durability,
// growth and the change of the backing file.
//
// Terms: *populate* means to give clusters that are unallocated here the contents that they already
// show, so that nothing visible changes. A range of *whole clusters* begins aligned to clusters and
// ends so or at virtual_size().
//
// Threads: all methods, from any thread at once; writes to overlapping ranges are ordered by the
// image itself, cluster by cluster. Ranges as for Image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "blocklayer/image/image.h"

namespace chainfs {

// The contents beneath a layer, for copy-on-write of partly written clusters. Reads past its end
// are zeros. Any thread.
class BackingReader {
 public:
  virtual ~BackingReader() = default;
  virtual Status ReadBelow(GuestOffset offset, std::span<std::byte> out) const = 0;
};

class WritableImage : public Image {
 public:
  WritableImage* writer() final { return this; }
  bool writable() const override = 0;
  std::string read_only_reason() const override = 0;
  // An image that was opened for reading can be written from now on, reads under way go on. The
  // caller holds a writer's locks and keeps other calls of this out. kReadOnly when the image
  // itself forbids it (read_only_reason() says why), else what File::ReopenForWriting says.
  virtual Status MakeWritable() = 0;

  // Guest writes. `below` supplies what surrounds a partly written, so far unallocated cluster;
  // null means zeros.
  virtual Status Write(GuestOffset offset, std::span<const std::byte> data,
                       const BackingReader* below) = 0;
  // The range reads as zeros from now on. Keeps allocated clusters when `keep_allocated` (the
  // caller wants later writes not to fail for space), else gives whole clusters back.
  virtual Status WriteZeroes(GuestOffset offset, uint64_t length, bool keep_allocated,
                             const BackingReader* below) = 0;
  // As Write does with `length` bytes of `source` from `source_offset` on, which do not pass
  // through this process. Whole clusters. kUnsupported where the files cannot: a part may be
  // written then, and whoever goes on writes it all by Write.
  virtual Status WriteFromFile(GuestOffset offset, uint64_t length, File& source,
                               HostOffset source_offset);
  // Gives back whole clusters within the range; they read as zeros afterwards. Partial clusters,
  // and images that cannot express it (qcow2 v2 with a backing file), are left unchanged.
  virtual Status Discard(GuestOffset offset, uint64_t length) = 0;

  // Job writes, of whole clusters. Those of the range that are allocated by now are left alone.
  virtual Status Populate(GuestOffset offset, std::span<const std::byte> data) = 0;
  virtual Status PopulateZeroes(GuestOffset offset, uint64_t length) = 0;
  // Populates from `source` at `source_offset` without reading the data into this process.
  // kUnsupported where the files cannot; nothing was changed then.
  virtual Status PopulateFromFile(GuestOffset offset, uint64_t length, File& source,
                                  HostOffset source_offset) = 0;

  // Populates with clusters that were compressed as compression() says, in the order of their
  // offsets. Those of one call are packed together, so many at once take less space than one by
  // one: what a call leaves of its last host cluster stays unused. kUnsupported where there is no
  // compression().
  virtual Status PopulateCompressed(std::span<const CompressedCluster> clusters);
  // The reverse: whole clusters become unallocated, so that what lies below shows, and give their
  // space back. The caller vouches that it shows the same there, durably so, also after a crash
  // that undoes this; Flush makes it durable. Who keeps an IoEpoch::Guard of the image from before
  // keeps the old places as they are, for stacks that may still name them (CHN-4). kUnsupported
  // where the format leaves nothing unallocated.
  virtual Status Unpopulate(GuestOffset offset, uint64_t length);

  // Makes everything acknowledged so far durable, metadata included, in the safe order.
  virtual Status Flush() = 0;
  // Whether further flushes would do something without another write: metadata that is not on disk
  // yet, clusters that can be given back to the host only now. Waits for a flush under way.
  virtual bool HasPending() { return false; }
  // Enlarges to `new_size` (> virtual_size(), a multiple of 512); the new range reads as zeros even
  // where the backing, `backing_size` bytes long and read through `below`, is longer. The caller
  // keeps other writers out. Durable on return.
  virtual Status Grow(uint64_t new_size, const BackingReader* below, uint64_t backing_size) = 0;
  // Cuts the disk off at `new_size` (<= virtual_size(), a multiple of 512) and gives back what lay
  // beyond. The caller keeps other writers out and counts the cut; a reader of what goes may find
  // its range past the end.
  // Durable on return; a crash leaves the old or the new size, and so does a failure, after which
  // virtual_size() says which.
  virtual Status Shrink(uint64_t new_size);
  // Whether SetBacking to this reference can be done atomically; the error says why not.
  virtual Status CanSetBacking(const std::optional<BackingReference>& backing) = 0;
  // Changes the header's backing file in one sector write, after Flush; durable on return. A crash
  // leaves the old or the new name. The caller vouches that contents stay the same.
  virtual Status SetBacking(const std::optional<BackingReference>& backing) = 0;
  // Makes, removes or changes a persistent bitmap, durably; writes may go on meanwhile. A bitmap
  // that is cleared holds what was written since. kUnsupported where the image has none;
  // kNotFound, kExists, kInvalidArgument.
  virtual Status ChangeBitmap(const BitmapChange& change);
  // Nobody writes for a while, after a Flush: stores what is stored only then, such as bitmaps. A
  // later write is as the first one.
  virtual Status Rest() { return {}; }
  // Flush, and leave the file as a cleanly closed image. No writing afterwards.
  virtual Status Close() = 0;

 protected:
  // kInvalidArgument unless the disk may have that many bytes, `least` to `most`.
  Status CheckNewSize(uint64_t new_size, uint64_t least, uint64_t most);
};

}  // namespace chainfs
