// SPDX-License-Identifier: Apache-2.0
//
// The header extensions: a list of (type, length, data padded to 8 bytes) after the fixed header,
// up to an end mark or to where the backing file name begins (FORMAT.md). Only finds them; what
// they mean is for header.cc. Hostile lists of any length cost one pass and no memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// The first bytes of an image, read as they are needed. Past the end of the file: zeros.
class HeaderBytes {
 public:
  // `file` must outlive this.
  explicit HeaderBytes(File& file) : file_(&file), path_(file.path()) {}
  // Bytes that are in no file yet, followed by zeros; `path` is for messages.
  HeaderBytes(std::vector<std::byte> bytes, std::string path)
      : path_(std::move(path)), loaded_(std::move(bytes)) {}

  const std::string& path() const { return path_; }
  // Valid until the next call.
  Result<std::span<const std::byte>> Get(uint64_t offset, uint64_t length);

 private:
  File* file_ = nullptr;
  std::string path_;
  std::vector<std::byte> loaded_;
};

struct HeaderExtension {
  uint32_t data = 0;  // where its data begins; type and length lie in the 8 bytes before
  uint32_t length = 0;
};

struct ExtensionArea {
  std::optional<HeaderExtension> backing_format;
  std::optional<HeaderExtension> feature_names;
  std::optional<HeaderExtension> bitmaps;
  std::optional<HeaderExtension> crypto;
  std::optional<HeaderExtension> data_file_name;
  bool has_end_mark = false;
  // The first byte behind it all: behind the end mark, or behind the last extension's padding
  // (which may then lie up to 7 bytes past the limit).
  uint32_t end = 0;
};

// Walks the extensions between `begin` and `limit`. kInvalidFormat: one reaches past the limit, or
// one that we know comes twice.
Result<ExtensionArea> FindExtensions(HeaderBytes& bytes, uint32_t begin, uint32_t limit);
// The same for a header that was read: from its end up to the backing name or the end of the
// cluster.
Result<ExtensionArea> FindExtensions(HeaderBytes& bytes, const Qcow2Header& header);

// The name of an incompatible feature bit, as the image itself explains it; empty if it does not.
Result<std::string> IncompatibleFeatureName(HeaderBytes& bytes, const ExtensionArea& area,
                                            uint32_t bit);

inline constexpr uint32_t kExtensionHeadBytes = 8;
inline constexpr uint32_t kFeatureNameBytes = 48;  // one entry: type, bit, 46 bytes of name

// ReadQcow2Header on bytes, without what needs the file: `file_size` bounds where tables may lie.
Result<Qcow2Header> ParseQcow2Header(HeaderBytes& bytes, uint64_t file_size);

}  // namespace chainfs::qcow2
