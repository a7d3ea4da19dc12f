// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/catalog_peek.h"

#include <algorithm>
#include <array>
#include <vector>

#include "blocklayer/base/endian.h"

namespace chainfs {
namespace {

constexpr uint32_t kMagic = 0x514649fb;
constexpr uint32_t kBackingFormatExtension = 0xe2792aca;
constexpr size_t kFirstRead = 4096;  // holds header, extensions and name of nearly every image
constexpr uint32_t kMaxNameBytes = 1023;
constexpr uint32_t kDataFileExtension = 0x44415441;
constexpr size_t kMaxFormatBytes = 64;
constexpr uint64_t kMaxHeaderCluster = 2 << 20;

// The text of an extension in `bytes`, which begins with the header.
std::optional<std::string> FindText(std::span<const std::byte> bytes, uint64_t at, uint32_t wanted,
                                    uint32_t longest) {
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

// Every absolute path among the strings of a JSON text. Relative ones begin where QEMU was started,
// which nobody knows here.
void AddPaths(std::string_view json, std::vector<std::string>& paths) {
  bool inside = false;
  std::string text;
  for (size_t i = 0; i < json.size(); ++i) {
    if (json[i] == '"') {
      if (inside && text.starts_with('/')) paths.push_back(text);
      inside = !inside;
      text.clear();
    } else if (json[i] == '\\' && i + 1 < json.size()) {
      text += json[++i];  // \" \\ \/ are what paths need
    } else {
      text += json[i];
    }
  }
}

}  // namespace

Result<HeaderPeek> PeekQcow2Header(File& file) {
  std::vector<std::byte> bytes(kFirstRead);
  CHAINFS_ASSIGN(const size_t read, file.ReadAt(HostOffset(0), bytes));
  bytes.resize(read);
  HeaderPeek peek;
  if (read < 72 || LoadBigEndian<uint32_t>(bytes.data()) != kMagic) return peek;
  peek.is_qcow2 = true;
  const uint32_t version = LoadBigEndian<uint32_t>(&bytes[4]);
  const uint64_t name_offset = LoadBigEndian<uint64_t>(&bytes[8]);
  const uint32_t name_bytes = LoadBigEndian<uint32_t>(&bytes[16]);
  const bool version3 = version >= 3 && read >= 104;
  if (version3) peek.dirty = (LoadBigEndian<uint64_t>(&bytes[72]) & 1) != 0;
  const uint64_t extensions = version3 ? LoadBigEndian<uint32_t>(&bytes[100]) : 72;
  peek.data_file = FindText(bytes, extensions, kDataFileExtension, kMaxNameBytes).value_or("");
  if (name_offset == 0 || name_bytes == 0 || name_bytes > kMaxNameBytes ||
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
      .format = FindText(std::span(bytes).first(name_offset), extensions, kBackingFormatExtension,
                         kMaxFormatBytes)};
  return peek;
}

std::vector<std::string> NamesOf(const HeaderPeek& peek) {
  std::vector<std::string> names;
  if (peek.backing) {
    const std::string& name = peek.backing->name;
    constexpr std::string_view kFile = "file:";
    if (name.starts_with("json:")) {
      AddPaths(name, names);
    } else {
      const bool is_path = name.starts_with(kFile) && name.substr(kFile.size()).starts_with('/');
      names.push_back(is_path ? name.substr(kFile.size()) : name);
    }
  }
  if (!peek.data_file.empty()) names.push_back(peek.data_file);
  return names;
}

bool BeginsLikeQcow2(File& file) {
  std::array<std::byte, 4> magic = {};
  const Result<size_t> read = file.ReadAt(HostOffset(0), magic);
  return read && *read == magic.size() && LoadBigEndian<uint32_t>(magic.data()) == kMagic;
}

}  // namespace chainfs
