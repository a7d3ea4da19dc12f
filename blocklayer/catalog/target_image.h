// SPDX-License-Identifier: Apache-2.0
//
// TargetImage: an image that a job fills, and that belongs to no chain in view: the target of a
// mirror. It is open and locked like an active layer as long as this lives, and a mark (left_out.h)
// keeps it from being shown, also after a restart, until the job says what has become of it.
//
// Threads: any; Finish, Remove and the end of the object wait for the turn of a scan. None outlives
// the catalog.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "blocklayer/base/result.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

struct TargetRequest {
  std::string path;  // absolute, or relative to the directory of the disk's active layer
  ImageFormat format = ImageFormat::kQcow2;
  std::string job;        // its id
  bool anywhere = false;  // the caller may name files outside the sources (root)
  // It is made: there must be nothing of its name (kExists). Else it must be there (kNotFound).
  struct Create {
    uint64_t virtual_size = 0;  // bytes, a multiple of 512
    uint32_t cluster_bits = 16;
    bool lazy_refcounts = false;
    std::optional<ImageCompression> compression = {};  // as in ImageCreateOptions
    std::optional<bool> subclusters = {};              // nothing: as `backing`
    LayerPtr backing = {};                             // what its header names; null: nothing
  };
  std::optional<Create> create = {};
};

class TargetImage {
 public:
  // What gives it back: called once for each of the ends.
  enum class End : uint8_t {
    kLeft,      // the job goes on some time; the mark stays
    kComplete,  // an image like any other
    kRemoved,   // what was made goes again
  };
  using GiveBack = std::function<Status(const LayerPtr& image, End end)>;

  TargetImage(Layers layers, GiveBack give_back)
      : layers_(std::move(layers)), give_back_(std::move(give_back)) {}
  ~TargetImage() {
    if (give_back_) (void)give_back_(layers_.front(), End::kLeft);
  }
  TargetImage(const TargetImage&) = delete;
  TargetImage& operator=(const TargetImage&) = delete;

  // The image and what it is built on, top to base.
  const Layers& layers() const { return layers_; }
  const LayerPtr& image() const { return layers_.front(); }

  // After its last flush, when nobody writes it any more: it may be shown, and others may have it.
  // After an error it is as it was.
  Status Finish() { return EndAs(End::kComplete); }
  // Removes the file, and nothing else of that name.
  Status Remove() { return EndAs(End::kRemoved); }

 private:
  Status EndAs(End end) {
    if (!give_back_) return {};
    CHAINFS_TRY(give_back_(layers_.front(), end));
    give_back_ = nullptr;
    return {};
  }

  const Layers layers_;
  GiveBack give_back_;  // null: it was given back
};
using TargetImagePtr = std::shared_ptr<TargetImage>;

}  // namespace chainfs
