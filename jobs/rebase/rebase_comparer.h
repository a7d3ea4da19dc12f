// SPDX-License-Identifier: Apache-2.0
//
// RebaseComparer: whether what a layer stands on and what it is to stand on show the same, as far
// as the layer lets them show. What both have in common, and what is zero in both, is not read.
//
// Threads: all methods, any.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "blocklayer/chain/layer_stack.h"
#include "jobs/engine/chunk_work.h"

namespace chainfs::jobs {

class RebaseComparer {
 public:
  // `top` outlives this. `now` null: top stands on nothing, so zeros show. `top_name` and
  // `base_name` are for people.
  RebaseComparer(Image& top, std::shared_ptr<const LayerStack> now,
                 std::shared_ptr<const LayerStack> then, std::string top_name,
                 std::string base_name);

  // Compares a range within the layer; the bytes that were read of each. kInvalidArgument where
  // they differ.
  ChunkResult Compare(uint64_t offset, uint64_t length) const;
  // The bytes that would be.
  ChunkResult Estimate(uint64_t offset, uint64_t length) const;

 private:
  // A piece at whose places nothing, or `length` bytes, must be compared.
  struct Piece {
    uint64_t length = 0;
    bool same = false;
  };
  enum class Look : uint8_t { kMapsOnly, kContents };
  Result<uint64_t> Walk(uint64_t offset, uint64_t length, Look look) const;
  Result<Piece> PieceAt(uint64_t offset, uint64_t length) const;
  Status CompareBytes(uint64_t offset, uint64_t length) const;

  Image& top_;
  const std::shared_ptr<const LayerStack> now_;
  const std::shared_ptr<const LayerStack> then_;
  const std::string top_name_;
  const std::string base_name_;
};

}  // namespace chainfs::jobs
