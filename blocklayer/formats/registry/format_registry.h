// SPDX-License-Identifier: Apache-2.0
//
// FormatRegistry: the formats of images that chainfs knows, one row per format. Everybody who must
// know which formats there are, by what extensions, or how one is opened, asks here.
//
// Threads: immutable after construction.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/image/create_options.h"
#include "blocklayer/image/header_peek.h"
#include "blocklayer/image/image.h"
#include "blocklayer/image/image_check.h"
#include "blocklayer/image/open_options.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

struct FormatRow {
  using Peek = Result<HeaderPeek> (*)(File& file);
  using BeginsLike = bool (*)(File& file);
  using Open = Result<std::unique_ptr<Image>> (*)(std::unique_ptr<File> file, MetadataCache& cache,
                                                  const ImageOpenOptions& options);
  using Create = Result<std::unique_ptr<File>> (*)(Directory& directory, const std::string& name,
                                                   const ImageCreateOptions& options);
  using Repair = Status (*)(File& file, const ImageRepairControl& control);
  using Check = Result<ImageCheckReport> (*)(File& file, const ImageCheckControl& control);

  ImageFormat format;
  // Of files that are taken for images of this format, with the dot.
  std::vector<std::string_view> extensions;
  // What the header says of other files. Fails only when the file cannot be read; a file that is of
  // another format says nothing. Null: images of this format name no other files.
  Peek peek = nullptr;
  // For a hint to people; never decides a format. Null: nothing tells it from others.
  BeginsLike begins_like = nullptr;
  // Takes the file over. kInvalidFormat, kUnsupported (naming the feature), kCorrupt, kIo.
  Open open = nullptr;
  // Makes an image of that name, complete and durable (file and directory) on return, and returns
  // its file; on failure nothing of that name is left. kExists, kInvalidArgument (an option out of
  // range, named), kIo... Null: chainfs makes no images of this format.
  Create create = nullptr;
  // What opening for writing does to an image whose peek says that it is dirty, for somebody who
  // does it elsewhere first. The file has the locks of a writer. Null: no image is ever dirty.
  Repair repair = nullptr;
  // Checks, or repairs, a whole image that nobody else uses. The file has the locks of a reader,
  // to be repaired, of a writer. Null: the format has nothing that could contradict itself.
  Check check = nullptr;
};

class FormatRegistry {
 public:
  // Names and extensions are distinct.
  explicit FormatRegistry(std::vector<FormatRow> rows) : rows_(std::move(rows)) {}
  // Those that chainfs comes with.
  static const FormatRegistry& BuiltIn();

  std::span<const FormatRow> rows() const { return rows_; }
  // Null when there is none.
  const FormatRow* Find(ImageFormat format) const { return FindByName(format.name()); }
  const FormatRow* FindByName(std::string_view name) const;
  // The image extension of a file's name, which is more than that; empty when it has none.
  std::string_view ExtensionOf(std::string_view file_name) const;
  // The row that has exactly this extension; null when there is none.
  const FormatRow* FindByExtension(std::string_view extension) const;
  // All names for a sentence: "qcow2, raw and vdi".
  std::string Names() const;
  // What the header of a file says whose format nobody has named, by the first format in which it
  // names other files. `peek` is empty when there is none.
  struct Unnamed {
    ImageFormat format = ImageFormat::kRaw;
    HeaderPeek peek = {};
  };
  Result<Unnamed> PeekUnnamed(File& file) const;
  // The first format, other than `shown_as`, that the file begins like.
  std::optional<ImageFormat> BeginsLike(File& file, ImageFormat shown_as) const;

 private:
  const std::vector<FormatRow> rows_;
};

// The format of that name, among those that chainfs comes with: exactly the word.
std::optional<ImageFormat> ParseImageFormat(std::string_view word);

}  // namespace chainfs
