// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/byte_source.h"

#include <algorithm>

namespace chainfs {

Status ByteSource::ReadZeroFilled(HostOffset offset, std::span<std::byte> out) {
  CHAINFS_ASSIGN(const size_t read, ReadAt(offset, out));
  std::ranges::fill(out.subspan(read), std::byte{0});
  return {};
}

}  // namespace chainfs
