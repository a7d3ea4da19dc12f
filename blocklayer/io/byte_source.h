// SPDX-License-Identifier: Apache-2.0
//
// ByteSource: ranged reads, whatever the bytes come from. A file of the host (File) is one; so is
// what decrypts another source, or fetches from a remote store. What an image maps lies in sources.
//
// Threads: all methods, from any thread at once. Offsets and lengths are bytes. EINTR never
// escapes.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "blocklayer/base/result.h"
#include "blocklayer/base/types.h"

namespace chainfs {

class File;

class ByteSource {
 public:
  explicit ByteSource(std::string path) : path_(std::move(path)) {}
  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  // What people are shown. Not used to open anything again.
  const std::string& path() const { return path_; }
  // Reads until `out` is full or the source ends; returns the bytes read.
  virtual Result<size_t> ReadAt(HostOffset offset, std::span<std::byte> out) = 0;
  // ReadAt, and zeros for what lies past the end.
  Status ReadZeroFilled(HostOffset offset, std::span<std::byte> out);
  // The file that holds these bytes one for one, so that the kernel can copy them; null where there
  // is none.
  virtual File* host_file() { return nullptr; }

 private:
  const std::string path_;
};

}  // namespace chainfs
