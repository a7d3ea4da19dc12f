// SPDX-License-Identifier: Apache-2.0
//
// Rebases: a layer of a chain in use is built on another image from now on: opening that image,
// keeping it from being written meanwhile, and the change itself.
//
// Crash ordering: the new base is durable, and so is all that the layer holds; then one sector of
// the layer's header. So a crash leaves the old base or the new one.
//
// Threads: all methods, any thread but those that hold a disk's write gate. They wait for their
// turn (turn_mutex.h), so none may be called under a lock that a scan needs.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/catalog/roots.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

struct CatalogEntry;
struct CatalogParts;

struct RebaseRequest {
  LayerPtr top;      // of the disk, and not raw
  std::string base;  // as the header of `top` may name it: absolute, or relative to its directory
  std::optional<ImageFormat> format = {};  // of `base`; nothing: as its extension says
  bool unsafe = false;                     // it is for PivotToOther
};

struct NewBase {
  FileLocation location;
  Layers layers;                            // what `top` is to stand on, and all below it
  std::shared_ptr<const LayerStack> stack;  // of them: keeps them from being written
  bool already = false;                     // `top` stands on it
};

class Rebases {
 public:
  // `parts` outlives this.
  explicit Rebases(CatalogParts& parts) : parts_(parts) {}

  // As long as the result lives, nobody writes the new base or what is below it; a disk of its own
  // is read-only. kBusy while somebody has that open for writing, or another process uses it;
  // kLoop when it is built on `top` or on what stands on that; kAccess outside the sources. Unsafe
  // ones fail as PivotToOther would.
  Result<NewBase> Open(const DiskPtr& disk, const RebaseRequest& request);
  // `top` stands on `base`, durably, and so does every disk that contains it. `same` is called when
  // `top` cannot grow any more: whether both show the same. kStale when a file was renamed or
  // replaced meanwhile.
  Status Pivot(const DiskPtr& disk, const LayerPtr& top, const NewBase& base,
               const std::function<Status()>& same);
  // The same although both may differ: the disk shows other contents from now on. Only for the
  // active layer. kBusy while the disk is open for writing, or anything is built on it.
  Status PivotToOther(const DiskPtr& disk, const LayerPtr& top, const NewBase& base);

 private:
  // What a pivot works on, found anew.
  struct Place {
    Layers above;  // down to `top`
    BackingReference reference;
  };
  Result<NewBase> OpenNow(const DiskPtr& disk, const RebaseRequest& request);
  // What is built on `top` would show something else, too.
  Status CheckAlone(const Disk& disk, const LayerPtr& top);
  Status CheckApart(const Layer& top, const std::vector<FileId>& base, const std::string& name);
  // Nobody writes it any more.
  Status Freeze(const FileId& base);
  Result<Place> FindPlace(const DiskPtr& disk, const LayerPtr& top, const NewBase& base);
  // Publishes the new list to every disk that contains `top`.
  void Publish(const LayerPtr& top, const Layers& base);

  CatalogParts& parts_;
};

}  // namespace chainfs
