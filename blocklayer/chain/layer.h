// SPDX-License-Identifier: Apache-2.0
//
// Layer: an open image with the name it goes by. Linked clones share one Layer object for a common
// base: one open file, one set of locks, one metadata owner.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

struct Layer {
  std::string path;                           // absolute, as people know it
  std::string name;                           // its last component
  std::shared_ptr<Directory> directory;       // holds `name`; relative backing names start here
  std::shared_ptr<Directory> data_directory;  // of its external data file; null without one
  FileId id;
  uint64_t owner_id = 0;  // key of this layer in the shared caches
  // Set where this is an internal snapshot: whose. File, path and locks are those of that layer.
  std::shared_ptr<Layer> snapshot_of = {};
  std::unique_ptr<Image> image;

  // Why the file could only be opened for reading: "/ro/vm1.qcow2 cannot be written (Read-only file
  // system)". Empty where that was not tried, or went well.
  void SetWriteRefusal(std::string why) EXCLUDES(refusal_mu) {
    const MutexLock lock(refusal_mu);
    write_refusal = std::move(why);
  }
  // For people; empty while the layer is writable. Any thread.
  std::string ReadOnlyReason() const EXCLUDES(refusal_mu) {
    {
      const MutexLock lock(refusal_mu);
      if (!write_refusal.empty()) return write_refusal;
    }
    return image->read_only_reason();
  }

  // Who uses it how; belongs to the StackRegistry and its lock.
  struct Use {
    uint32_t stacks = 0;   // living stacks that contain it
    uint32_t retired = 0;  // of these, retired ones
    bool written = false;  // a disk may write it
    bool awaited = false;  // somebody wants to write it once no stack contains it
    // While there are retired ones, no place in the image that they may name is used anew.
    std::optional<IoEpoch::Guard> kept_places = {};
  };
  mutable Use use;

  mutable Mutex refusal_mu;  // a leaf
  std::string write_refusal GUARDED_BY(refusal_mu);
};
using LayerPtr = std::shared_ptr<Layer>;
// Top to base.
using Layers = std::vector<LayerPtr>;

}  // namespace chainfs
