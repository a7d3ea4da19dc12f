// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/holds_nothing.h"

namespace chainfs {

Result<bool> HoldsNothing(Image& image) {
  const uint64_t size = image.virtual_size();
  for (uint64_t at = 0; at < size;) {
    CHAINFS_ASSIGN(const Extent extent, image.Map(GuestOffset(at), size - at, MapDetail::kPrecise));
    const bool empty = extent.kind == ExtentKind::kUnallocated ||
                       (extent.kind == ExtentKind::kZero && image.format() == ImageFormat::kRaw);
    if (!empty) return false;
    at += extent.length;
  }
  return true;
}

}  // namespace chainfs
