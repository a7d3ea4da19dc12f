// SPDX-License-Identifier: Apache-2.0
//
// A raw image: every byte of the file is the disk's byte. It has no backing file, everything is
// allocated, and it can only be a base. Its virtual size is the file's size (rounded up to 512; the
// tail reads as zeros).
#pragma once

#include <memory>

#include "blocklayer/image/writable_image.h"

namespace chainfs::raw {

// Takes the file over. `read_only`: never write, whatever the file was opened for.
Result<std::unique_ptr<WritableImage>> OpenRawImage(std::unique_ptr<File> file, bool read_only);

}  // namespace chainfs::raw
