// SPDX-License-Identifier: Apache-2.0
//
// DirtyBits: the bits of one bitmap in memory, one per granule of the disk. It may say more than
// was marked, never less: where memory is short, a whole piece of it counts as dirty.
//
// Memory: 16 bytes per piece of 32,768 bits, and 4 KiB for each piece that is neither clean nor
// dirty throughout, all of it charged to the metadata cache.
//
// Threads: none of its own; whoever has it guards it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/cache/metadata_cache.h"

namespace chainfs::qcow2 {

// What the bitmaps of one image take of the metadata cache. Any thread.
class BitmapMemory {
 public:
  // `cache` must outlive this.
  explicit BitmapMemory(MetadataCache& cache) : cache_(cache) {}
  bool Take(uint64_t bytes) {
    if (!cache_.Charge(taken_.load(std::memory_order_relaxed), bytes)) return false;
    taken_.fetch_add(bytes, std::memory_order_relaxed);
    return true;
  }
  void GiveBack(uint64_t bytes) {
    cache_.Discharge(bytes);
    taken_.fetch_sub(bytes, std::memory_order_relaxed);
  }

 private:
  MetadataCache& cache_;
  std::atomic<uint64_t> taken_ = 0;
};

class DirtyBits {
 public:
  // All clean, for a disk of `size` bytes. kNoMemory: not even the pieces can be charged. `memory`
  // must outlive it.
  static Result<DirtyBits> Make(BitmapMemory& memory, uint32_t granularity_bits, uint64_t size);
  DirtyBits(DirtyBits&& other) noexcept;
  DirtyBits& operator=(DirtyBits&&) = delete;
  ~DirtyBits();

  uint64_t granularity() const { return 1ull << granularity_bits_; }
  uint64_t bits() const { return bits_; }

  // The granules that `length` bytes from `offset` on touch; what lies beyond the disk is ignored.
  void Mark(uint64_t offset, uint64_t length);
  void Clear();
  // What is new is dirty: whoever has copied the disk before does not have it.
  void Resize(uint64_t size);

  // Bits of a file, from `first_bit` on, a multiple of 8; added to what is marked.
  void Merge(uint64_t first_bit, std::span<const std::byte> bytes);
  enum class Contents : uint8_t { kClean, kDirty, kMixed };
  // The bits from `first_bit`, a multiple of 8, on, as many as `out` holds; zeros beyond the last.
  // What they are throughout; beyond the last bit does not count.
  Contents Fetch(uint64_t first_bit, std::span<std::byte> out) const;
  uint64_t CountOnes() const;

 private:
  static constexpr uint64_t kPieceBytes = 4096;
  static constexpr uint64_t kPieceBits = kPieceBytes * 8;
  using PieceBytes = std::array<std::byte, kPieceBytes>;
  struct Piece {
    std::unique_ptr<PieceBytes> bytes;
    bool dirty = false;  // all of it, whatever `bytes` would say; it has none then
  };

  DirtyBits(BitmapMemory& memory, uint32_t granularity_bits)
      : memory_(memory), granularity_bits_(granularity_bits) {}
  // Bits [first, last) of it, within the piece.
  void MarkInPiece(Piece& piece, uint64_t first, uint64_t last);
  // Its bytes, or nothing where they can not be had; then all of it is dirty.
  PieceBytes* BytesOf(Piece& piece);
  void DropBytes(Piece& piece);
  bool Charge(uint64_t bytes);

  BitmapMemory& memory_;
  const uint32_t granularity_bits_;
  uint64_t bits_ = 0;
  std::vector<Piece> pieces_;
  uint64_t charged_ = 0;
};

}  // namespace chainfs::qcow2
