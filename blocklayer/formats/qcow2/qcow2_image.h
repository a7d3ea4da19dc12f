// SPDX-License-Identifier: Apache-2.0
//
// Opening a qcow2 image. See README.md for the invariants and FORMAT.md for the bytes.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/writable_image.h"

namespace chainfs {

struct Qcow2OpenOptions {
  // Never write a byte, not even feature bits. Otherwise an image with the dirty bit is repaired
  // before it is returned, and one that uses features chainfs can only read comes back with
  // writable() false and the reason.
  bool read_only = false;
  // Key in `cache`; unique to this open image.
  uint64_t owner = 0;
  // When given, an image with the dirty bit is not repaired, but comes back with writable() false
  // and this reason.
  std::optional<std::string> unrepaired = {};
};

// Takes the file over. kInvalidFormat, kUnsupported (naming the feature), kCorrupt, kIo.
Result<std::unique_ptr<WritableImage>> OpenQcow2Image(std::unique_ptr<File> file,
                                                      MetadataCache& cache,
                                                      const Qcow2OpenOptions& options);

struct Qcow2RepairControl {
  const std::atomic<bool>* stop = nullptr;          // true: ends soon, with kCancelled
  std::function<void(uint32_t done)> percent = {};  // called often
};
// What opening for writing does to an image with the dirty bit, for somebody who does it elsewhere
// first; see RebuildRefcounts. The file has the locks of a writer.
Status RepairQcow2(File& file, const Qcow2RepairControl& control);

}  // namespace chainfs
