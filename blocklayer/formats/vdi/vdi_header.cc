// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vdi/vdi_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "blocklayer/base/endian.h"

namespace chainfs::vdi {
namespace {

constexpr size_t kHeaderBytes = 512;
constexpr uint32_t kSectorBytes = 512;
constexpr uint32_t kSignature = 0xbeda107f;
constexpr uint32_t kVersion = 0x00010001;
constexpr uint32_t kDynamic = 1;
constexpr uint32_t kStatic = 2;

using Bytes = std::array<std::byte, kHeaderBytes>;

uint32_t Word(const Bytes& bytes, size_t at) { return LoadLittleEndian<uint32_t>(&bytes[at]); }

bool AllZero(std::span<const std::byte> bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

Status CheckKind(const std::string& path, const Bytes& bytes) {
  if (Word(bytes, 64) != kSignature) {
    return Fail(ErrorKind::kInvalidFormat, path + ": not a VDI image (no VDI signature)");
  }
  const uint32_t version = Word(bytes, 68);
  if (version != kVersion) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: VDI version {}.{} is not supported; chainfs reads version 1.1",
                            path, version >> 16, version & 0xffff));
  }
  const bool has_parent =
      !AllZero(std::span(bytes).subspan(424, 16)) || !AllZero(std::span(bytes).subspan(440, 16));
  const uint32_t type = Word(bytes, 76);
  if (has_parent || (type != kDynamic && type != kStatic)) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: a differencing or undo VDI image (it names a parent, or is of "
                            "type {}); chainfs reads dynamic and static ones: merge it first with "
                            "VBoxManage clonemedium",
                            path, type));
  }
  return {};
}

}  // namespace

Result<VdiHeader> ReadVdiHeader(File& file, uint64_t file_size) {
  Bytes bytes = {};
  CHAINFS_TRY(file.ReadZeroFilled(HostOffset(0), bytes));
  const std::string& path = file.path();
  CHAINFS_TRY(CheckKind(path, bytes));
  const uint32_t map = Word(bytes, 340);
  const uint32_t data = Word(bytes, 344);
  const uint64_t size = LoadLittleEndian<uint64_t>(&bytes[368]);
  const uint32_t blocks = Word(bytes, 384);
  if (Word(bytes, 360) != kSectorBytes || Word(bytes, 376) != kBlockBytes ||
      Word(bytes, 380) != 0) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("{}: sectors of {} bytes, blocks of {} bytes with {} more before each; "
                            "chainfs reads VDI images with 512, 1 MiB and none",
                            path, Word(bytes, 360), Word(bytes, 376), Word(bytes, 380)));
  }
  if (map % kSectorBytes != 0 || data % kSectorBytes != 0 || map < kHeaderBytes) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: its header places the block map at {} and the data at {}", path,
                            map, data));
  }
  if (size > uint64_t{blocks} * kBlockBytes) {
    return Fail(
        ErrorKind::kCorrupt,
        fmt::format("{}: {} blocks of 1 MiB do not hold a disk of {} bytes", path, blocks, size));
  }
  if (map + uint64_t{blocks} * 4 > file_size) {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: the file ends ({} bytes) before its block map does; it was cut "
                            "short",
                            path, file_size));
  }
  return VdiHeader{.map = HostOffset(map),
                   .data = HostOffset(data),
                   .disk_size = RoundUp(size, kSectorBytes),
                   .blocks = blocks};
}

bool BeginsLikeVdi(File& file) {
  Bytes bytes = {};
  const Result<size_t> read = file.ReadAt(HostOffset(0), bytes);
  return read && *read == bytes.size() && Word(bytes, 64) == kSignature;
}

}  // namespace chainfs::vdi
