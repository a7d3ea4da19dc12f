// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/dirty_bits.h"

#include <algorithm>
#include <bit>
#include <new>
#include <utility>

#include "blocklayer/base/types.h"

namespace chainfs::qcow2 {
namespace {

// The bits [first, last) of a byte, both at most 8.
std::byte ByteMask(uint64_t first, uint64_t last) {
  return std::byte{static_cast<uint8_t>(((1u << last) - 1) & ~((1u << first) - 1))};
}

}  // namespace

Result<DirtyBits> DirtyBits::Make(BitmapMemory& memory, uint32_t granularity_bits, uint64_t size) {
  DirtyBits made(memory, granularity_bits);
  const uint64_t bits = DivRoundUp(size, 1ull << granularity_bits);
  const uint64_t pieces = DivRoundUp(bits, kPieceBits);
  if (!made.Charge(pieces * sizeof(Piece))) {
    return Fail(ErrorKind::kNoMemory, "a bitmap does not fit into metadata_memory");
  }
  made.pieces_.resize(pieces);
  made.bits_ = bits;
  return made;
}

DirtyBits::DirtyBits(DirtyBits&& other) noexcept
    : memory_(other.memory_),
      granularity_bits_(other.granularity_bits_),
      bits_(other.bits_),
      pieces_(std::move(other.pieces_)),
      charged_(std::exchange(other.charged_, 0)) {}

DirtyBits::~DirtyBits() { memory_.GiveBack(charged_); }

bool DirtyBits::Charge(uint64_t bytes) {
  if (!memory_.Take(bytes)) return false;
  charged_ += bytes;
  return true;
}

void DirtyBits::DropBytes(Piece& piece) {
  if (!piece.bytes) return;
  piece.bytes.reset();
  memory_.GiveBack(kPieceBytes);
  charged_ -= kPieceBytes;
}

DirtyBits::PieceBytes* DirtyBits::BytesOf(Piece& piece) {
  if (piece.bytes || piece.dirty) return piece.bytes.get();
  if (!Charge(kPieceBytes)) {
    piece.dirty = true;
    return nullptr;
  }
  piece.bytes.reset(new (std::nothrow) PieceBytes());
  if (!piece.bytes) {
    memory_.GiveBack(kPieceBytes);
    charged_ -= kPieceBytes;
    piece.dirty = true;
  }
  return piece.bytes.get();
}

void DirtyBits::MarkInPiece(Piece& piece, uint64_t first, uint64_t last) {
  if (piece.dirty) return;
  if (first == 0 && last == kPieceBits) {
    DropBytes(piece);
    piece.dirty = true;
    return;
  }
  PieceBytes* const bytes = BytesOf(piece);
  if (bytes == nullptr) return;
  const uint64_t first_byte = first / 8;
  const uint64_t last_byte = (last - 1) / 8;
  if (first_byte == last_byte) {
    (*bytes)[first_byte] |= ByteMask(first % 8, (last - 1) % 8 + 1);
    return;
  }
  (*bytes)[first_byte] |= ByteMask(first % 8, 8);
  std::fill(bytes->begin() + static_cast<ptrdiff_t>(first_byte + 1),
            bytes->begin() + static_cast<ptrdiff_t>(last_byte), std::byte{0xff});
  (*bytes)[last_byte] |= ByteMask(0, (last - 1) % 8 + 1);
}

void DirtyBits::Mark(uint64_t offset, uint64_t length) {
  if (length == 0 || bits_ == 0) return;
  const uint64_t first = offset >> granularity_bits_;
  const uint64_t end = offset > UINT64_MAX - length ? UINT64_MAX : offset + length;
  const uint64_t last = std::min(DivRoundUp(end, granularity()), bits_);
  for (uint64_t at = first; at < last;) {
    const uint64_t piece = at / kPieceBits;
    const uint64_t stop = std::min(last, (piece + 1) * kPieceBits);
    MarkInPiece(pieces_[piece], at % kPieceBits, stop - piece * kPieceBits);
    at = stop;
  }
}

void DirtyBits::Clear() {
  for (Piece& piece : pieces_) {
    DropBytes(piece);
    piece.dirty = false;
  }
}

void DirtyBits::Resize(uint64_t size) {
  const uint64_t old_bits = bits_;
  const uint64_t bits = DivRoundUp(size, granularity());
  const uint64_t pieces = DivRoundUp(bits, kPieceBits);
  // A piece beyond the end of a shorter disk goes; bits there do not count, but come back.
  for (uint64_t i = pieces; i < pieces_.size(); ++i) DropBytes(pieces_[i]);
  // The pieces themselves are few, and a disk must not stay small for want of them.
  if (pieces > pieces_.size()) (void)Charge((pieces - pieces_.size()) * sizeof(Piece));
  pieces_.resize(pieces);
  bits_ = bits;
  if (bits > old_bits) Mark(old_bits << granularity_bits_, (bits - old_bits) << granularity_bits_);
}

void DirtyBits::Merge(uint64_t first_bit, std::span<const std::byte> bytes) {
  for (uint64_t at = first_bit; !bytes.empty() && at < bits_;) {
    Piece& piece = pieces_[at / kPieceBits];
    const uint64_t begin = at % kPieceBits / 8;
    const uint64_t here = std::min<uint64_t>(bytes.size(), kPieceBytes - begin);
    const std::span<const std::byte> from = bytes.first(here);
    if (std::ranges::any_of(from, [](std::byte b) { return b != std::byte{0}; })) {
      if (PieceBytes* const to = BytesOf(piece)) {
        for (uint64_t i = 0; i < here; ++i) (*to)[begin + i] |= from[i];
      }
    }
    bytes = bytes.subspan(here);
    at += here * 8;
  }
}

DirtyBits::Contents DirtyBits::Fetch(uint64_t first_bit, std::span<std::byte> out) const {
  std::ranges::fill(out, std::byte{0});
  const uint64_t end = std::min(bits_, first_bit + out.size() * 8);
  if (first_bit >= end) return Contents::kClean;
  for (uint64_t at = first_bit; at < end;) {
    const Piece& piece = pieces_[at / kPieceBits];
    const uint64_t stop = std::min(end, RoundDown(at, kPieceBits) + kPieceBits);
    const auto to = out.subspan((at - first_bit) / 8, DivRoundUp(stop - at, 8));
    if (piece.dirty) {
      std::ranges::fill(to, std::byte{0xff});
    } else if (piece.bytes) {
      std::ranges::copy(std::span(*piece.bytes).subspan(at % kPieceBits / 8, to.size()),
                        to.begin());
    }
    at = stop;
  }
  const uint64_t used = end - first_bit;
  const std::span<std::byte> whole = out.first(used / 8);
  std::byte rest{0};
  const std::byte rest_mask = ByteMask(0, used % 8);
  if (used % 8 != 0) rest = out[used / 8] &= rest_mask;
  const auto all = [&](std::byte value, std::byte end_value) {
    return rest == end_value && std::ranges::all_of(whole, [&](std::byte b) { return b == value; });
  };
  if (all(std::byte{0}, std::byte{0})) return Contents::kClean;
  return all(std::byte{0xff}, rest_mask) ? Contents::kDirty : Contents::kMixed;
}

uint64_t DirtyBits::CountOnes() const {
  uint64_t ones = 0;
  PieceBytes bytes;
  for (uint64_t at = 0; at < bits_; at += kPieceBits) {
    const Piece& piece = pieces_[at / kPieceBits];
    if (!piece.dirty && !piece.bytes) continue;
    Fetch(at, bytes);
    for (const std::byte b : bytes) ones += static_cast<uint64_t>(std::popcount(uint8_t(b)));
  }
  return ones;
}

}  // namespace chainfs::qcow2
