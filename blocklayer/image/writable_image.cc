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

}  // namespace chainfs
