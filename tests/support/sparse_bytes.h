// SPDX-License-Identifier: Apache-2.0
//
// SparseBytes: the contents of one in-memory file. A copy is a snapshot: it costs next to nothing
// and shares pages until one side writes (crash tests keep thousands). Pages know their hash, so
// the hash of a file is cheap too. A page that was never written, or punched, is a hole.
//
// Threads: none of its own; the owner locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "blocklayer/io/file.h"

namespace chainfs {

class SparseBytes {
 public:
  static constexpr uint64_t kPageSize = 4096;

  SparseBytes();

  uint64_t size() const { return size_; }
  uint64_t allocated_bytes() const { return pages_ * kPageSize; }
  // Zeros in holes and past the end.
  void Read(uint64_t offset, std::span<std::byte> out) const;
  // Grows the size if need be.
  void Write(uint64_t offset, std::span<const std::byte> data);
  // Leaves the size alone: bytes past the end are there, unseen, until the size covers them or
  // CutAtSize removes them.
  void WriteUnseen(uint64_t offset, std::span<const std::byte> data);
  // Shrinking drops what lies behind.
  void Resize(uint64_t size);
  void GrowUnseen(uint64_t size) { size_ = size > size_ ? size : size_; }
  void CutAtSize() { Drop(size_, UINT64_MAX); }
  // Reads as zeros from now on; whole pages become holes. The size stays.
  void Clear(uint64_t offset, uint64_t length);
  DataRun RunAt(uint64_t offset) const;
  // Equal for equal size and visible bytes, whether zeros are holes or pages.
  uint64_t Hash() const;
  bool SameAs(const SparseBytes& other) const { return Hash() == other.Hash(); }

 private:
  struct Page;
  struct Segment;
  using Segments = std::map<uint64_t, std::shared_ptr<Segment>>;

  const Page* FindPage(uint64_t index) const;
  // A page of its own to write to.
  Page& PageToWrite(uint64_t index);
  Segment& SegmentToWrite(uint64_t index);
  Segments& SegmentsToWrite();
  void RemovePage(uint64_t index);
  // Removes all pages from `offset` (first page zeroed from there on) up to `end`.
  void Drop(uint64_t offset, uint64_t end);

  uint64_t size_ = 0;
  uint64_t pages_ = 0;
  std::shared_ptr<Segments> segments_;
};

// A quick 64-bit hash; not for adversaries.
uint64_t HashBytes(std::span<const std::byte> data, uint64_t seed);
uint64_t MixHash(uint64_t a, uint64_t b);

}  // namespace chainfs
