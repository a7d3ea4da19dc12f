// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/image/image.h"

#include <fmt/format.h>

#include <algorithm>

namespace chainfs {

std::vector<File*> Image::HostFiles() {
  std::vector<File*> files = {&file()};
  for (uint16_t number = 1; number < source_count(); ++number) {
    File* const further = source(number).host_file();
    if (further != nullptr) files.push_back(further);
  }
  return files;
}

bool Image::poisoned() {
  return std::ranges::any_of(HostFiles(), [](const File* one) { return one->poisoned(); });
}

bool Image::ChangedByOthers() {
  return std::ranges::any_of(HostFiles(), [](File* one) { return one->ChangedByOthers(); });
}

std::string Image::read_only_reason() const { return "chainfs only reads this format"; }

const ImageSnapshots& Image::snapshots() const {
  static const ImageSnapshots none;
  return none;
}

Result<std::unique_ptr<Image>> Image::OpenSnapshot(size_t /*index*/, uint64_t /*owner*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: {} images have no internal snapshots here",
                                                   file().path(), format().name()));
}

Status Image::ReadCompressed(const Extent& /*extent*/, std::span<std::byte> /*out*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: {} images have no compressed clusters",
                                                   file().path(), format().name()));
}

}  // namespace chainfs
