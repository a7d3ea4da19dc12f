// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/compress_key.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "jobs/copy/compressing_sink.h"

namespace chainfs::jobs {

Result<std::optional<ImageCompression>> CompressionWanted(const verbs::Arguments& arguments) {
  const std::string word = arguments.Text("compress").value_or("none");
  if (word == "none") return std::nullopt;
  for (const ImageCompression one : {ImageCompression::kZlib, ImageCompression::kZstd}) {
    if (word == CompressionName(one)) return one;
  }
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("compress={}: must be none, zlib or zstd", word));
}

Status CheckCompression(const Layer& target, std::optional<ImageCompression> wanted) {
  if (!wanted) return {};
  const std::optional<ImageCompression> kind = target.image->compression();
  if (kind == wanted) return {};
  const std::string_view word = CompressionName(*wanted);
  if (!kind) {
    return Fail(ErrorKind::kUnsupported,
                EscapeText(fmt::format("{}: {} images hold nothing compressed; leave compress={} "
                                       "out",
                                       target.path, target.image->format().name(), word)));
  }
  return Fail(ErrorKind::kUnsupported,
              EscapeText(fmt::format("{}: its clusters are compressed by {}, not {}; use "
                                     "compress={}, or an image that was created with "
                                     "compression_type={}",
                                     target.path, CompressionName(*kind), word,
                                     CompressionName(*kind), word)));
}

uint64_t ChunkUnit(uint64_t cluster_size, std::optional<ImageCompression> wanted) {
  // Some 20 ms of one core by zlib, so that a pause is still quick.
  constexpr uint64_t kPacked = 512 << 10;
  return wanted ? std::max(cluster_size, kPacked) : cluster_size;
}

std::unique_ptr<CopySink> WithCompression(std::unique_ptr<CopySink> plain, WritableImage& image,
                                          std::optional<ImageCompression> wanted) {
  if (!wanted) return plain;
  return std::make_unique<CompressingSink>(std::move(plain), image);
}

}  // namespace chainfs::jobs
