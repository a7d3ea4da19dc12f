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

std::string Image::read_only_reason() const { return "chainfs only reads this format"; }

Status Image::ReadCompressed(const Extent& /*extent*/, std::span<std::byte> /*out*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: {} images have no compressed clusters",
                                                   file().path(), ImageFormatName(format())));
}

}  // namespace chainfs
