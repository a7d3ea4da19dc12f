// SPDX-License-Identifier: Apache-2.0
//
// Layer: an open image with the name it goes by. Linked clones share one Layer object for a common
// base: one open file, one set of locks, one metadata owner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

struct Layer {
  std::string path;                      // absolute, as people know it
  std::string name;                      // its last component
  std::shared_ptr<Directory> directory;  // holds `name`; relative backing names start here
  FileId id;
  uint64_t owner_id = 0;  // key of this layer in the shared caches
  // Why the file could only be opened for reading: "/ro/vm1.qcow2 cannot be written (Read-only file
  // system)". Empty where that was not tried, or went well.
  std::string write_refusal;
  std::unique_ptr<Image> image;

  // For people; empty while the layer is writable.
  std::string ReadOnlyReason() const {
    return write_refusal.empty() ? image->read_only_reason() : write_refusal;
  }

  // Who uses it how; belongs to the StackRegistry and its lock.
  struct Use {
    uint32_t stacks = 0;   // living stacks that contain it
    bool written = false;  // a disk may write it
    bool awaited = false;  // somebody wants to write it once no stack contains it
  };
  mutable Use use;
};
using LayerPtr = std::shared_ptr<Layer>;
// Top to base.
using Layers = std::vector<LayerPtr>;

}  // namespace chainfs
