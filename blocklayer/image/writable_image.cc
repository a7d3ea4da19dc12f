// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/writable_image.h"

#include <fmt/format.h>

namespace chainfs {

Status WritableImage::WriteFromFile(GuestOffset /*offset*/, uint64_t /*length*/, File& source,
                                    HostOffset /*source_offset*/) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: {} images cannot take data straight from {}", file().path(),
                          format().name(), source.path()));
}

Status WritableImage::PopulateCompressed(std::span<const CompressedCluster> /*clusters*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: {} images have no compressed clusters",
                                                   file().path(), format().name()));
}

Status WritableImage::Unpopulate(GuestOffset /*offset*/, uint64_t /*length*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: {} images leave nothing unallocated",
                                                   file().path(), format().name()));
}

Status WritableImage::ChangeBitmap(const BitmapChange& /*change*/) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: {} images have no bitmaps", file().path(), format().name()));
}

Status WritableImage::Shrink(uint64_t /*new_size*/) {
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: {} images cannot shrink", file().path(), format().name()));
}

Status WritableImage::CheckNewSize(uint64_t new_size, uint64_t least, uint64_t most) {
  if (new_size % 512 == 0 && least <= new_size && new_size <= most) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{}: cannot be resized to {} bytes: {}, or not a multiple of 512",
                          file().path(), new_size, most == UINT64_MAX ? "smaller" : "larger"));
}

}  // namespace chainfs
