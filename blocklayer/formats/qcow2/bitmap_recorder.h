// SPDX-License-Identifier: Apache-2.0
//
// BitmapRecorder: the bitmaps of one image that are in memory, and those of them that record what
// is changed.
//
// A change is recorded once it has been made, also if it failed, for a part of it may have been
// made. So a bitmap that is cleared or starts to record holds every change that ends afterwards.
//
// Threads: all methods, any thread; the mutex is a leaf but for the metadata cache's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "blocklayer/base/sync.h"
#include "blocklayer/base/types.h"
#include "blocklayer/formats/qcow2/dirty_bits.h"

namespace chainfs::qcow2 {

class BitmapRecorder {
 public:
  // Records a range when it ends.
  class Change {
   public:
    Change(BitmapRecorder& recorder, GuestOffset offset, uint64_t length)
        : recorder_(recorder), offset_(offset), length_(length) {}
    ~Change() { recorder_.Record(offset_, length_); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    BitmapRecorder& recorder_;
    const GuestOffset offset_;
    const uint64_t length_;
  };

  void Record(GuestOffset offset, uint64_t length) EXCLUDES(mu_);

  // No bitmap of that name is held.
  void Add(const std::string& name, DirtyBits bits, bool recording) EXCLUDES(mu_);
  void Remove(const std::string& name) EXCLUDES(mu_);
  void RemoveAll() EXCLUDES(mu_);
  void SetRecording(const std::string& name, bool recording) EXCLUDES(mu_);
  void Clear(const std::string& name) EXCLUDES(mu_);
  // The disk has so many bytes from now on.
  void Resize(uint64_t size) EXCLUDES(mu_);

  bool Holds(const std::string& name) const EXCLUDES(mu_);
  // Whole granules; nothing for one that is not held.
  std::optional<uint64_t> DirtyBytes(const std::string& name) const EXCLUDES(mu_);
  // As DirtyBits::Fetch, of one that is held.
  DirtyBits::Contents Fetch(const std::string& name, uint64_t first_bit,
                            std::span<std::byte> out) const EXCLUDES(mu_);

 private:
  struct Held {
    DirtyBits bits;
    bool recording;
  };

  mutable Mutex mu_;
  std::map<std::string, Held> held_ GUARDED_BY(mu_);
  std::atomic<bool> any_ = false;  // is held
};

}  // namespace chainfs::qcow2
