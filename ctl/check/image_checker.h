// SPDX-License-Identifier: Apache-2.0
//
// CheckImageFile: checks, or repairs, one image file that nobody has open.
//
// Threads: plain functions; `percent` of the request is called by any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/image/image.h"
#include "blocklayer/image/image_check.h"
#include "blocklayer/io/file.h"

namespace chainfs::check {

struct ImageRequest {
  std::string path;                   // as the user or a header says it
  std::optional<ImageFormat> format;  // nothing: what the name's extension says
  ImageRepair repair = ImageRepair::kNone;
  const std::atomic<bool>* stop = nullptr;
  std::function<void(uint32_t done)> percent = {};
};

struct CheckedImage {
  ImageFormat format = ImageFormat::kRaw;
  FileId id;
  std::string file;                        // its path, links resolved
  std::optional<ImageCheckReport> report;  // nothing: the format has nothing to check
  // Of an image that can be opened.
  uint64_t virtual_size = 0;
  std::optional<BackingReference> backing;
};

// kBusy: somebody has it open; kInvalidArgument: no format is known for the name; kNotFound,
// kPermission and all that opening and checking an image can say.
Result<CheckedImage> CheckImageFile(const ImageRequest& request);

}  // namespace chainfs::check
