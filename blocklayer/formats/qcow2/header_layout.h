// SPDX-License-Identifier: Apache-2.0
//
// How chainfs lays out what follows the fixed header: extensions, end mark, backing file name.
// Shared by creating images and changing them. Pure; no I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/image/image.h"

namespace chainfs::qcow2 {

// Whether a header can hold this reference at all; kInvalidArgument names what is wrong. A name
// that QEMU would take for a protocol ("a:b") has to be written "./a:b".
Status CheckBackingReference(const BackingReference& backing, std::string_view path);

// The extension that names the format, padded; nothing for an empty word.
std::vector<std::byte> BackingFormatExtension(std::string_view format);

struct NamePlaces {
  uint64_t cluster_size = 0;
  uint64_t area_end = 0;      // of the extensions as they will be
  uint64_t old_area_end = 0;  // as they are
  uint64_t old_name = 0;
  uint64_t old_name_size = 0;  // 0: there is no old name
};

// Where a name of `size` bytes goes so that whatever of it lies behind the first sector touches
// nothing that the old header uses: in the first sector if it fits there.
std::optional<uint64_t> PlaceName(const NamePlaces& places, uint64_t size);

}  // namespace chainfs::qcow2
