// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/geometry.h"

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {

uint64_t LoadRefcount(const std::byte* block, uint64_t index, uint32_t refcount_order) {
  switch (refcount_order) {
    case 3:
      return static_cast<uint64_t>(block[index]);
    case 4:
      return LoadBigEndian<uint16_t>(block + index * 2);
    case 5:
      return LoadBigEndian<uint32_t>(block + index * 4);
    case 6:
      return LoadBigEndian<uint64_t>(block + index * 8);
    default: {
      // Narrower than a byte: entry 0 in the least significant bits.
      const uint32_t bits = 1u << refcount_order;
      const uint64_t bit = index * bits;
      return (static_cast<uint64_t>(block[bit / 8]) >> (bit % 8)) & ((1u << bits) - 1);
    }
  }
}

void StoreRefcount(std::byte* block, uint64_t index, uint32_t refcount_order, uint64_t value) {
  switch (refcount_order) {
    case 3:
      block[index] = static_cast<std::byte>(value);
      return;
    case 4:
      StoreBigEndian(block + index * 2, static_cast<uint16_t>(value));
      return;
    case 5:
      StoreBigEndian(block + index * 4, static_cast<uint32_t>(value));
      return;
    case 6:
      StoreBigEndian(block + index * 8, value);
      return;
    default: {
      const uint32_t bits = 1u << refcount_order;
      const uint64_t bit = index * bits;
      const auto mask = static_cast<uint64_t>((1u << bits) - 1) << (bit % 8);
      const uint64_t old = static_cast<uint64_t>(block[bit / 8]);
      block[bit / 8] = static_cast<std::byte>((old & ~mask) | (value << (bit % 8)));
      return;
    }
  }
}

}  // namespace chainfs::qcow2
