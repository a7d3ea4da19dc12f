// SPDX-License-Identifier: Apache-2.0
//
// HeaderEditor: every change of the header of an open image. Each is one write of the first sector
// followed by a sync (Q2-4); the caller has made durable what the new header points to.
//
// A change that failed half-way leaves it open whether the disk names the old table or the new one,
// so nothing may be written through either: uncertain() is true for good (Q2-7).
//
// Threads: all methods, any thread. The mutex is held across the I/O of a change; under it nothing
// but the file is used.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>

#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/bitmap_header.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class HeaderEditor {
 public:
  // `header` was read from `file`, which must outlive this.
  HeaderEditor(File& file, Qcow2Header header);

  // As it was read; backing file, bitmaps and feature bits as they are now.
  Qcow2Header header() const EXCLUDES(mu_);
  std::optional<BackingReference> backing() const EXCLUDES(mu_);
  uint64_t virtual_size() const { return virtual_size_.load(std::memory_order_acquire); }
  bool uncertain() const { return uncertain_.load(std::memory_order_acquire); }

  // Changes where a table lies. A failure makes the header uncertain, unless nothing was tried yet.
  Status ChangeSector(const std::function<void(HeaderSector)>& change) EXCLUDES(mu_);
  // Becomes the virtual size, durably, once all tables can map it.
  Status SetVirtualSize(uint64_t size) EXCLUDES(mu_);
  Status CanSetBacking(const std::optional<BackingReference>& backing) EXCLUDES(mu_);
  Status SetBacking(const std::optional<BackingReference>& backing) EXCLUDES(mu_);
  // Where the bitmaps lie; nothing: there are none any more.
  Status SetBitmaps(const std::optional<BitmapPlace>& place) EXCLUDES(mu_);
  // Before the first change of an image: of what these bits promise, only bitmaps are maintained
  // here.
  Status ClearAutoclearFeatures() EXCLUDES(mu_);
  // As far as the version and the file allow it.
  void SetCorruptBit() EXCLUDES(mu_);

 private:
  File& file_;
  std::atomic<uint64_t> virtual_size_;
  std::atomic<bool> uncertain_ = false;
  mutable Mutex mu_;
  Qcow2Header header_ GUARDED_BY(mu_);
};

}  // namespace chainfs::qcow2
