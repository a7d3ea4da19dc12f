// SPDX-License-Identifier: Apache-2.0
//
// CatalogObserver: who is told what has changed. Called with none of the catalog's locks held, in
// the order of the changes, by one thread at a time; it may call the catalog. DiskError alone comes
// from the thread that met the error, at any time.
#pragma once

#include <string_view>

#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

// Told of changes one at a time, in their order, by whichever thread made one. Whoever changes
// something comes back after the observer was told of it, except from a call of the observer
// itself: an observer may call the catalog.
class CatalogObserver {
 public:
  virtual ~CatalogObserver() = default;
  virtual void DiskAdded(const DiskPtr& disk) = 0;
  virtual void DiskRemoved(const DiskPtr& disk) = 0;
  // New list of layers. After everything else that follows from it, so that whoever is told of it
  // finds that done.
  virtual void ChainChanged(const DiskPtr& disk) = 0;
  // It shows other contents from now on, perhaps of another size.
  virtual void ContentsChanged(const DiskPtr& /*disk*/) {}
  // By a command; what is left or new shows what it should.
  virtual void SizeChanged(const DiskPtr& /*disk*/, bool /*shrunk*/) {}
  virtual void AccessChanged(const DiskPtr& /*disk*/) {}  // read-only now, or writable again
  virtual void DiskError(const Disk& disk, std::string_view operation, const Error& error) = 0;
  virtual void ImageBroken(const BrokenImage& image) = 0;  // newly broken or another reason
  virtual void Warned(const ImageNote& /*note*/) {}        // a new note that is a warning
};

}  // namespace chainfs
