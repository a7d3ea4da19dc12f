// SPDX-License-Identifier: Apache-2.0
//
// How an image is to be opened and repaired, whatever its format.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/io/file.h"

namespace chainfs {

struct ImageOpenOptions {
  // Never write a byte, not even feature bits. Otherwise an image with the dirty bit is repaired
  // before it is returned, and one that uses features chainfs can only read comes back with
  // writable() false and the reason.
  bool read_only = false;
  // Key of the image in the shared caches; unique to this open image.
  uint64_t owner = 0;
  // When given, an image with the dirty bit is not repaired, but comes back with writable() false
  // and this reason.
  std::optional<std::string> unrepaired = {};
  // Opens a further file of the image, one component of a name in the image's own directory, for
  // reading and with the locks of a layer that is read. Null: images of several files are refused.
  std::function<Result<std::unique_ptr<File>>(const std::string& name)> open_beside = {};
  // The locks that the file has; data files get theirs accordingly.
  ImageLockSet locks = {};
  // Opens the external data file that the header names, for writing if the image is, with its
  // locks. Null: such images are refused.
  std::function<Result<std::unique_ptr<File>>(const std::string& name)> open_data_file = {};
};

struct ImageRepairControl {
  const std::atomic<bool>* stop = nullptr;          // true: ends soon, with kCancelled
  std::function<void(uint32_t done)> percent = {};  // called often
};

}  // namespace chainfs
