// SPDX-License-Identifier: Apache-2.0
//
// ExtentReader: reads what a sequence of extents names, in order of guest offsets, with as few host
// reads as possible: data that continues in the same source and in the caller's buffer becomes one
// read. Nothing is allocated.
//
// What it reads is complete only after Finish. One object serves one request of one thread. The
// caller keeps the layers and the extents valid until then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blocklayer/cache/decoded_cache.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

class ExtentReader {
 public:
  explicit ExtentReader(DecodedCache& decoded) : decoded_(decoded) {}
  ExtentReader(const ExtentReader&) = delete;
  ExtentReader& operator=(const ExtentReader&) = delete;

  // `out` (at most extent.length bytes) shows the guest bytes from `offset` on, which `extent` of
  // `layer` serves. kUnallocated reads as zeros; so does data past the end of its source.
  Status Add(const Layer& layer, const Extent& extent, GuestOffset offset,
             std::span<std::byte> out);
  // The same for kData, which begins at `host` of `source`.
  Status AddData(ByteSource& source, HostOffset host, std::span<std::byte> out);
  // Reads what is still put off.
  Status Finish();

 private:
  Status AddCompressed(const Layer& layer, const Extent& extent, GuestOffset offset,
                       std::span<std::byte> out);

  DecodedCache& decoded_;
  ByteSource* source_ = nullptr;  // of the data put off; null: none
  HostOffset host_;
  std::span<std::byte> out_;
};

}  // namespace chainfs
