// SPDX-License-Identifier: Apache-2.0
#include "jobs/rebase/rebase_comparer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kMostAtOnce = 1 << 20;

bool IsZeros(const StackExtent& extent) {
  return extent.kind == ExtentKind::kZero || extent.kind == ExtentKind::kUnallocated;
}

}  // namespace

RebaseComparer::RebaseComparer(Image& top, std::shared_ptr<const LayerStack> now,
                               std::shared_ptr<const LayerStack> then, std::string top_name,
                               std::string base_name)
    : top_(top),
      now_(std::move(now)),
      then_(std::move(then)),
      top_name_(std::move(top_name)),
      base_name_(std::move(base_name)) {}

ChunkResult RebaseComparer::Compare(uint64_t offset, uint64_t length) const {
  Result<uint64_t> read = Walk(offset, length, Look::kContents);
  if (!read) return std::unexpected(ChunkFailure{.error = std::move(read).error()});
  return *read;
}

ChunkResult RebaseComparer::Estimate(uint64_t offset, uint64_t length) const {
  Result<uint64_t> read = Walk(offset, length, Look::kMapsOnly);
  if (!read) return std::unexpected(ChunkFailure{.error = std::move(read).error()});
  return *read;
}

Result<uint64_t> RebaseComparer::Walk(uint64_t offset, uint64_t length, Look look) const {
  uint64_t compared = 0;
  for (uint64_t at = offset; at < offset + length;) {
    CHAINFS_ASSIGN(const Extent extent,
                   top_.Map(GuestOffset(at), offset + length - at, MapDetail::kFast));
    const uint64_t end = at + extent.length;
    if (extent.kind != ExtentKind::kUnallocated) at = end;
    while (at < end) {
      CHAINFS_ASSIGN(const Piece piece, PieceAt(at, std::min(end - at, kMostAtOnce)));
      if (!piece.same) {
        if (look == Look::kContents) CHAINFS_TRY(CompareBytes(at, piece.length));
        compared += piece.length;
      }
      at += piece.length;
    }
  }
  return compared;
}

Result<RebaseComparer::Piece> RebaseComparer::PieceAt(uint64_t offset, uint64_t length) const {
  const GuestOffset at(offset);
  StackExtent now{.length = length};
  if (now_ != nullptr) {
    CHAINFS_ASSIGN(now, now_->Map(at, length, MapDetail::kFast));
  }
  CHAINFS_ASSIGN(const StackExtent then, then_->Map(at, length, MapDetail::kFast));
  Piece piece{.length = std::min(now.length, then.length), .same = false};
  if (IsZeros(now) || IsZeros(then)) {
    piece.same = IsZeros(now) && IsZeros(then);
    return piece;
  }
  piece.same = now_->layers()[now.layer] == then_->layers()[then.layer] && now.kind == then.kind &&
               now.host == then.host && now.source == then.source;
  return piece;
}

Status RebaseComparer::CompareBytes(uint64_t offset, uint64_t length) const {
  thread_local std::vector<std::byte> now;
  thread_local std::vector<std::byte> then;
  now.assign(length, std::byte{0});
  then.resize(length);
  if (now_ != nullptr) CHAINFS_TRY(now_->ReadBelow(GuestOffset(offset), now));
  CHAINFS_TRY(then_->ReadBelow(GuestOffset(offset), then));
  const auto [here, there] = std::ranges::mismatch(now, then);
  if (here == now.end()) return {};
  return Fail(ErrorKind::kInvalidArgument,
              EscapeText(fmt::format(
                  "{}: cannot stand on {}: that differs from what it stands on now, at {}; merge "
                  "with stream, or go on with other contents by unsafe=yes",
                  top_name_, base_name_, offset + static_cast<uint64_t>(here - now.begin()))));
}

}  // namespace chainfs::jobs
