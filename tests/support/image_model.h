// SPDX-License-Identifier: Apache-2.0
//
// ImageModel: one image beside a plain buffer that says what it must show. Random operations go to
// both; Verify compares every byte.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/image/writable_image.h"
#include "tests/support/random.h"

namespace chainfs {

// A buffer as what lies below an image.
class BufferBelow final : public BackingReader {
 public:
  explicit BufferBelow(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  const std::vector<std::byte>& bytes() const { return bytes_; }
  Status ReadBelow(GuestOffset offset, std::span<std::byte> out) const override;

 private:
  const std::vector<std::byte> bytes_;
};

// Everything the image shows over `below` (null: zeros), through Map and the file.
Result<std::vector<std::byte>> ReadWholeImage(Image& image, const BackingReader* below);

// The first difference in words, or empty.
std::string Difference(std::span<const std::byte> expected, std::span<const std::byte> actual);

// As jobs do it: the clusters that shrink, compressed as the image wants it; the others, and all of
// an image without compression, are left as they are.
Status PopulateCompressed(WritableImage& image, GuestOffset offset,
                          std::span<const std::byte> data);

class ImageModel {
 public:
  // Both must outlive the model. `expected` is what the image shows now.
  ImageModel(WritableImage& image, const BackingReader* below, std::vector<std::byte> expected)
      : image_(&image), below_(below), expected_(std::move(expected)) {}

  const std::vector<std::byte>& expected() const { return expected_; }
  void Reopened(WritableImage& image) { image_ = &image; }

  // One random write, write-zeroes, discard, populate or flush; sizes around `scale` bytes.
  Status RandomOperation(Random& random, uint64_t scale);
  // What differs from the model, or empty.
  std::string Verify();

 private:
  Status RandomPopulate(Random& random, uint64_t offset, uint64_t length);
  Status DoDiscard(uint64_t offset, uint64_t length);

  WritableImage* image_;
  const BackingReader* below_;
  std::vector<std::byte> expected_;
};

}  // namespace chainfs
