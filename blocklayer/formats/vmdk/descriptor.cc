// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/vmdk/descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

namespace chainfs::vmdk {
namespace {

constexpr std::string_view kFirstLine = "# Disk DescriptorFile";
constexpr std::string_view kNoParent = "ffffffff";
constexpr uint64_t kMostSectors = (uint64_t{1} << 63) / kSectorBytes;

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Takes the first word off `rest`.
std::string_view TakeWord(std::string_view& rest) {
  rest = Trimmed(rest);
  const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
  rest.remove_prefix(word.size());
  return word;
}

std::optional<uint64_t> Sectors(std::string_view word) {
  uint64_t sectors = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), sectors);
  if (error != std::errc() || end != word.data() + word.size() || sectors >= kMostSectors) {
    return std::nullopt;
  }
  return sectors;
}

// Takes a name in quotes off `rest`; nothing where there is none that a file of the same directory
// could have.
std::optional<std::string> TakeName(std::string_view& rest) {
  rest = Trimmed(rest);
  if (!rest.starts_with('"')) return std::nullopt;
  const size_t end = rest.find('"', 1);
  if (end == std::string_view::npos) return std::nullopt;
  std::string name(rest.substr(1, end - 1));
  rest.remove_prefix(end + 1);
  const bool plain = !name.empty() && name != "." && name != ".." && !name.contains('/');
  return plain ? std::optional(std::move(name)) : std::nullopt;
}

// An extent per line: ACCESS SECTORS TYPE ["NAME" [OFFSET]].
class LineParser {
 public:
  LineParser(const std::string& path, std::string_view line) : path_(path), line_(line) {}

  Result<DescribedExtent> Parse() {
    std::string_view rest = line_;
    if (TakeWord(rest) != "RW") {
      return Refuse(ErrorKind::kUnsupported, "extents that are not RW are not supported");
    }
    const std::optional<uint64_t> sectors = Sectors(TakeWord(rest));
    if (!sectors || *sectors == 0) return Refuse(ErrorKind::kInvalidFormat, "it has no size");
    const std::string_view type = TakeWord(rest);
    DescribedExtent extent{.length = *sectors * kSectorBytes};
    if (type == "ZERO") {
      if (Trimmed(rest).empty()) return extent;
      return Refuse(ErrorKind::kInvalidFormat, "more than the type follows");
    }
    if (type == "SPARSE") {
      extent.type = ExtentType::kSparse;
    } else if (type == "FLAT" || type == "VMFS") {
      extent.type = ExtentType::kFlat;
    } else {
      return Refuse(ErrorKind::kUnsupported,
                    "chainfs reads extents of the types FLAT, VMFS, SPARSE and ZERO");
    }
    std::optional<std::string> name = TakeName(rest);
    if (!name) {
      return Refuse(ErrorKind::kUnsupported,
                    "it does not name a file in the descriptor's own directory");
    }
    extent.file = *std::move(name);
    rest = Trimmed(rest);
    if (rest.empty() && type != "FLAT") return extent;
    const std::optional<uint64_t> offset = Sectors(rest);
    if (!offset || type != "FLAT") {
      return Refuse(ErrorKind::kInvalidFormat, "no offset, or one that means nothing");
    }
    extent.offset = *offset * kSectorBytes;
    return extent;
  }

 private:
  std::unexpected<Error> Refuse(ErrorKind kind, std::string_view why) const {
    return Fail(kind,
                fmt::format("{}: the extent \"{}\" of its descriptor: {}", path_, line_, why));
  }

  const std::string& path_;
  const std::string_view line_;
};

bool IsExtent(std::string_view line) {
  const std::string_view word = TakeWord(line);
  return word == "RW" || word == "RDONLY" || word == "NOACCESS";
}

// The value of `line` if it is that of `key`, without quotes.
std::optional<std::string_view> ValueOf(std::string_view key, std::string_view line) {
  const size_t equals = line.find('=');
  if (equals == std::string_view::npos || Trimmed(line.substr(0, equals)) != key) {
    return std::nullopt;
  }
  std::string_view value = Trimmed(line.substr(equals + 1));
  if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"')) {
    value = value.substr(1, value.size() - 2);
  }
  return value;
}

std::unexpected<Error> HasParent(const std::string& path) {
  return Fail(ErrorKind::kUnsupported,
              path +
                  ": the VMDK disk is a difference to a parent; chainfs reads whole ones: make "
                  "one with qemu-img convert");
}

}  // namespace

bool IsDescriptorText(std::string_view text) { return text.starts_with(kFirstLine); }

Result<Descriptor> ParseDescriptor(const std::string& path, std::string_view text) {
  // qemu-img fills up with NUL bytes when a new CID is shorter than the one before.
  text = text.substr(0, text.find_last_not_of('\0') + 1);
  if (!IsDescriptorText(text) || text.contains('\0')) {
    return Fail(ErrorKind::kInvalidFormat, path + ": has no VMDK descriptor");
  }
  Descriptor descriptor;
  uint64_t length = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.starts_with('#')) continue;
    if (const auto parent = ValueOf("parentCID", line)) {
      if (*parent != kNoParent) return HasParent(path);
    } else if (ValueOf("parentFileNameHint", line)) {
      return HasParent(path);
    } else if (const auto type = ValueOf("createType", line)) {
      if (descriptor.create_type.empty()) descriptor.create_type = *type;
    } else if (IsExtent(line)) {
      CHAINFS_ASSIGN(DescribedExtent extent, LineParser(path, line).Parse());
      if (descriptor.extents.size() == kMostExtents ||
          extent.length >= (uint64_t{1} << 63) - length) {
        return Fail(ErrorKind::kUnsupported,
                    fmt::format("{}: more than {} extents, or more than a disk can hold", path,
                                kMostExtents));
      }
      length += extent.length;
      descriptor.extents.push_back(std::move(extent));
    }
  }
  return descriptor;
}

}  // namespace chainfs::vmdk
