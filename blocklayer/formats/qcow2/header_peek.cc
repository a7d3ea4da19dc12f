// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_peek.h"

#include <algorithm>
#include <array>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/header.h"

namespace chainfs {
namespace {

constexpr size_t kFirstRead = 4096;  // holds header, extensions and name of nearly every image
// As lenient as can be: what is too long for us may be right for somebody else.
constexpr size_t kMaxPeekedFormatBytes = 64;
constexpr uint64_t kMaxHeaderCluster = 2 << 20;

// The text of an extension in `bytes`, which begins with the header.
std::optional<std::string> TextOfExtension(std::span<const std::byte> bytes, uint64_t at,
                                           uint32_t wanted, uint32_t longest) {
  while (at + 8 <= bytes.size()) {
    const uint32_t type = LoadBigEndian<uint32_t>(&bytes[at]);
    const uint32_t length = LoadBigEndian<uint32_t>(&bytes[at + 4]);
    if (type == 0 || length > bytes.size() - at - 8) return std::nullopt;
    if (type == wanted && length <= longest) {
      return std::string(reinterpret_cast<const char*>(&bytes[at + 8]), length);
    }
    at += 8 + (uint64_t{length} + 7) / 8 * 8;
  }
  return std::nullopt;
}

}  // namespace

Result<HeaderPeek> PeekQcow2Header(File& file) {
  std::vector<std::byte> bytes(kFirstRead);
  CHAINFS_ASSIGN(const size_t read, file.ReadAt(HostOffset(0), bytes));
  bytes.resize(read);
  HeaderPeek peek;
  if (read < qcow2::kHeaderBytesV2 || !qcow2::HasQcow2Magic(bytes)) return peek;
  std::array<std::byte, qcow2::kHeaderBytesWritten> head = {};
  std::ranges::copy(std::span(bytes).first(std::min(read, head.size())), head.begin());
  const qcow2::HeaderFields fields = qcow2::DecodeHeaderFields(head);
  const bool version3 = fields.version >= 3 && read >= qcow2::kHeaderBytesV3;
  peek.dirty = version3 && fields.dirty();
  const uint64_t extensions = version3 ? fields.header_length : qcow2::kHeaderBytesV2;
  peek.data_file =
      TextOfExtension(bytes, extensions, qcow2::kExtensionDataFileName, qcow2::kMaxBackingNameBytes)
          .value_or("");
  const uint64_t name_offset = fields.backing_offset;
  const uint32_t name_bytes = fields.backing_size;
  if (name_offset == 0 || name_bytes == 0 || name_bytes > qcow2::kMaxBackingNameBytes ||
      name_offset > kMaxHeaderCluster) {
    return peek;
  }
  // Extensions lie before the name; read on when either passes what was read.
  if (name_offset + name_bytes > bytes.size()) {
    bytes.resize(name_offset + name_bytes);
    CHAINFS_ASSIGN(const size_t all, file.ReadAt(HostOffset(0), bytes));
    if (all < bytes.size()) return peek;
  }
  peek.backing = BackingReference{
      .name = std::string(reinterpret_cast<const char*>(&bytes[name_offset]), name_bytes),
      .format = TextOfExtension(std::span(bytes).first(name_offset), extensions,
                                qcow2::kExtensionBackingFormat, kMaxPeekedFormatBytes)};
  return peek;
}

bool BeginsLikeQcow2(File& file) {
  std::array<std::byte, 4> magic = {};
  const Result<size_t> read = file.ReadAt(HostOffset(0), magic);
  return read && *read == magic.size() && qcow2::HasQcow2Magic(magic);
}

}  // namespace chainfs
