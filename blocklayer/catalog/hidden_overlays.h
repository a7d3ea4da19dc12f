// SPDX-License-Identifier: Apache-2.0
//
// HiddenOverlays: files of the source directories that are no images by their names, or raw ones,
// but begin with a qcow2 header that names a backing file: libvirt calls the overlay of a snapshot
// vm1.snap1. They are never shown, opened for good or written because of that; they only make what
// they are built on read-only.
//
// A look is bounded: each file is opened once for as long as it does not change, for a few KiB, and
// a scan spends no more than kLongest on it and goes on with the rest in the next one. Files that
// are called like an image of the directory come first.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "blocklayer/catalog/chain_opener.h"

namespace chainfs {

class HiddenOverlays {
 public:
  static constexpr std::chrono::milliseconds kLongest{1000};

  struct Overlay {
    LayerFile file;
    bool settled = false;       // will not change without a new time of change
    std::vector<FileId> below;  // what it is built on; first what it is built on directly
    std::string missing;        // as in WalkedChain
  };
  using Directories = std::vector<std::shared_ptr<Directory>>;

  // `pause` is called now and then and may let others in; false: end now. Whether nothing new was
  // left for the next scan.
  bool Scan(const Directories& directories, ChainOpener& opener,
            const std::function<bool()>& pause);
  // Every overlay in `directories`, whatever it is called and however long that takes, by a look of
  // now: for whoever is about to remove what one may be built on. Fails when a directory cannot be
  // listed, or `pause` says so.
  static Result<std::vector<Overlay>> InspectAll(const Directories& directories,
                                                 ChainOpener& opener,
                                                 const std::function<bool()>& pause);
  const std::map<std::string, Overlay>& overlays() const { return overlays_; }  // by path
  // Files that are remembered, for tests.
  size_t remembered() const { return plain_.size() + overlays_.size(); }

 private:
  struct Stamp {
    FileId id;
    uint64_t size = 0;
    int64_t modified = 0;  // nanoseconds
    int64_t changed = 0;
    auto operator<=>(const Stamp&) const = default;
  };
  using Stamps = std::set<Stamp>;
  using Overlays = std::map<std::string, Overlay>;
  struct Pass {
    Stamps plain;
    Overlays overlays;
    size_t headers = 0;  // that were read
  };

  static Stamp StampOf(const FileStat& stat);
  // Fails when one of them cannot be listed: then nothing is known to be gone. `all`: those called
  // like a qcow2 image, too.
  static Result<std::vector<FileLocation>> List(const Directories& directories, bool all);
  void Inspect(const FileLocation& location, ChainOpener& opener, Pass& pass);

  Stamps plain_;  // files that are no overlays
  Overlays overlays_;
  std::string resume_at_;  // a path, where the last scan had no more time
};

}  // namespace chainfs
