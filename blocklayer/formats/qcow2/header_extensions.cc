// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_extensions.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

// Almost every header with its extensions and its backing name fits.
constexpr uint64_t kFirstRead = 4096;

std::optional<HeaderExtension>* KnownExtension(ExtensionArea& area, uint32_t type) {
  switch (type) {
    case kExtensionBackingFormat:
      return &area.backing_format;
    case kExtensionFeatureNames:
      return &area.feature_names;
    case kExtensionBitmaps:
      return &area.bitmaps;
    case kExtensionCrypto:
      return &area.crypto;
    case kExtensionDataFileName:
      return &area.data_file_name;
    default:
      return nullptr;
  }
}

}  // namespace

Result<std::span<const std::byte>> HeaderBytes::Get(uint64_t offset, uint64_t length) {
  const uint64_t end = offset + length;
  const uint64_t have = loaded_.size();
  if (end > have) {
    // Doubling keeps a walk through a large header linear.
    const uint64_t want = std::max({end, 2 * have, kFirstRead});
    loaded_.resize(want);
    if (file_ != nullptr) {
      CHAINFS_TRY(file_->ReadZeroFilled(HostOffset(have), std::span(loaded_).subspan(have)));
    }
  }
  return std::span<const std::byte>(loaded_).subspan(offset, length);
}

Result<ExtensionArea> FindExtensions(HeaderBytes& bytes, uint32_t begin, uint32_t limit) {
  ExtensionArea area;
  uint64_t offset = begin;
  while (offset < limit) {
    const auto too_long = [&](uint32_t type) {
      return Fail(ErrorKind::kInvalidFormat,
                  fmt::format("{}: qcow2 header extension {:#010x} at byte {} is too long: it "
                              "passes the end of the extension area at byte {}",
                              bytes.path(), type, offset, limit));
    };
    if (limit - offset < kExtensionHeadBytes) return too_long(0);
    CHAINFS_ASSIGN(const std::span<const std::byte> head, bytes.Get(offset, kExtensionHeadBytes));
    const auto type = LoadBigEndian<uint32_t>(head.data());
    const auto length = LoadBigEndian<uint32_t>(head.data() + 4);
    const uint64_t data = offset + kExtensionHeadBytes;
    if (length > limit - data) return too_long(type);
    if (type == kExtensionEnd) {
      area.has_end_mark = true;
      area.end = static_cast<uint32_t>(data);
      return area;
    }
    if (std::optional<HeaderExtension>* known = KnownExtension(area, type); known != nullptr) {
      if (known->has_value()) {
        return Fail(ErrorKind::kInvalidFormat,
                    fmt::format("{}: qcow2 header extension {:#010x} at byte {} is a duplicate",
                                bytes.path(), type, offset));
      }
      *known = HeaderExtension{.data = static_cast<uint32_t>(data), .length = length};
    }
    offset = data + RoundUp(length, 8);
  }
  area.end = static_cast<uint32_t>(offset);
  return area;
}

Result<ExtensionArea> FindExtensions(HeaderBytes& bytes, const Qcow2Header& header) {
  const uint64_t limit = header.backing_offset != 0 ? header.backing_offset : header.cluster_size();
  return FindExtensions(bytes, header.header_length, static_cast<uint32_t>(limit));
}

Result<std::string> IncompatibleFeatureName(HeaderBytes& bytes, const ExtensionArea& area,
                                            uint32_t bit) {
  if (!area.feature_names) return "";
  const HeaderExtension& table = *area.feature_names;
  for (uint32_t at = 0; at + kFeatureNameBytes <= table.length; at += kFeatureNameBytes) {
    CHAINFS_ASSIGN(const std::span<const std::byte> entry,
                   bytes.Get(table.data + at, kFeatureNameBytes));
    const auto type = static_cast<uint8_t>(entry[0]);
    if (type != 0 || static_cast<uint8_t>(entry[1]) != bit) continue;
    std::string name;
    for (const std::byte b : entry.subspan(2)) {
      const char c = static_cast<char>(b);
      if (c == '\0') break;
      // It goes into logs and terminals.
      name += c >= ' ' && c <= '~' ? c : '?';
    }
    return name;
  }
  return "";
}

}  // namespace chainfs::qcow2
