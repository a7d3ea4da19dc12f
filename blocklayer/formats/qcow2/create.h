// SPDX-License-Identifier: Apache-2.0
//
// Creating a qcow2 image. Images made here keep all header extensions within the first 512 bytes,
// so that every later change of the header is one sector write (FORMAT.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

// What of the disk has its place before anybody writes it.
enum class Preallocation : uint8_t {
  kOff,
  kMetadata,  // all clusters are mapped to places in a sparse file
  kFalloc,    // and the host has set the space aside
  kFull,      // and zeros are written there
};

struct Qcow2CreateOptions {
  uint64_t virtual_size = 0;    // bytes; rounded up to a multiple of 512
  uint32_t version = 3;         // 2 or 3
  uint32_t cluster_bits = 16;   // 9..21
  uint32_t refcount_order = 4;  // 0..6; version 2: only 4
  bool lazy_refcounts = false;  // version 3 only
  bool zstd = false;            // compression type of compressed clusters; version 3 only
  bool extended_l2 = false;     // subclusters; version 3 and cluster_bits from 14 on
  std::optional<BackingReference> backing = {};       // format is required
  Preallocation preallocation = Preallocation::kOff;  // with a backing file: extended_l2 only
  uint32_t permissions = 0644;
};

// Creates `name` in `directory`, complete and durable (file and directory) on return; on failure
// nothing of that name is left. kExists, kInvalidArgument (an option out of range, named), kIo...
// Returns the file itself, so that nobody need look for it by its name, which may lead to another
// one by then.
Result<std::unique_ptr<File>> CreateQcow2(Directory& directory, const std::string& name,
                                          const Qcow2CreateOptions& options);

// What a new overlay takes over from the image that it stands on.
struct Qcow2Shape {
  uint64_t virtual_size = 0;  // bytes, as stated
  bool extended_l2 = false;
};
// Nothing if it is no qcow2 image. Nothing else is looked at: opening says what is wrong with it.
Result<std::optional<Qcow2Shape>> ReadQcow2Shape(File& file);

}  // namespace chainfs
