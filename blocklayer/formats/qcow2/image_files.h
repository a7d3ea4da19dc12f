// SPDX-License-Identifier: Apache-2.0
//
// ImageFiles: the host's files of one image: itself, and the external data file where it has one.
//
// Threads: as for File; SetLocks and ReopenForWriting, one at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

class ImageFiles {
 public:
  // `data`: null where the image holds its data itself. `locks`: those that the image has; the data
  // file has its own accordingly.
  ImageFiles(std::unique_ptr<File> image, std::unique_ptr<File> data, const ImageLockSet& locks)
      : image_(std::move(image)), data_(std::move(data)), locks_(locks) {}

  File& image() { return *image_; }
  const File& image() const { return *image_; }
  // Where guest data lies.
  File& data() { return data_ ? *data_ : *image_; }
  bool has_data_file() const { return data_ != nullptr; }
  bool writable() const { return image_->writable() && (!data_ || data_->writable()); }
  // As for File; of both.
  Status ReopenForWriting();
  Status SetLocks(const ImageLockSet& locks);
  Result<uint64_t> AllocatedBytes();

 private:
  std::unique_ptr<File> image_;
  std::unique_ptr<File> data_;
  ImageLockSet locks_;
};

}  // namespace chainfs::qcow2
