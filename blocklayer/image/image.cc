// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/image.h"

#include <fmt/format.h>

namespace chainfs {

std::string_view ImageFormatName(ImageFormat format) {
  return format == ImageFormat::kRaw ? "raw" : "qcow2";
}

std::optional<ImageFormat> ParseImageFormat(std::string_view word) {
  if (word == "raw") return ImageFormat::kRaw;
  if (word == "qcow2") return ImageFormat::kQcow2;
  return std::nullopt;
}

Status Image::MakeWritable() {
  if (writable()) return {};
  return Fail(ErrorKind::kReadOnly,
              fmt::format("{}: cannot be written: {}", file().path(), read_only_reason()));
}

}  // namespace chainfs
