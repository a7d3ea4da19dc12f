// SPDX-License-Identifier: Apache-2.0
//
// zlib clusters are raw deflate. libdeflate decodes what ends properly within the output, which is
// nearly everything; whatever else QEMU accepts is told from garbage by zlib: a stream that fills
// the cluster exactly counts, whether or not it would go on or was cut off.
//
// zstd clusters are one or more frames. Each is decoded in one piece straight into the output, so
// the window that a frame asks for costs no memory.
#include "blocklayer/formats/qcow2/decompress.h"

#include <fmt/format.h>
#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <memory>

#include "blocklayer/formats/qcow2/header.h"

namespace chainfs::qcow2 {
namespace {

// A cluster of one frame is the rule; more than a few come only from an attacker.
constexpr int kMaxFrames = 1024;
constexpr int kRawDeflateWindowBits = -15;  // negative: no zlib header

struct FreeDeflate {
  void operator()(libdeflate_decompressor* decoder) const { libdeflate_free_decompressor(decoder); }
};
struct FreeZstd {
  void operator()(ZSTD_DCtx* decoder) const { ZSTD_freeDCtx(decoder); }
};

std::unexpected<Error> Corrupt(std::string_view what) {
  return Fail(ErrorKind::kCorrupt, fmt::format("a compressed cluster is corrupt: {}", what));
}

std::unexpected<Error> NoDecoder() {
  return Fail(ErrorKind::kNoMemory, "not enough memory for a decompressor");
}

// The judgement of zlib on a stream that libdeflate did not take.
Status InflateExactly(std::span<const std::byte> compressed, std::span<std::byte> out) {
  z_stream stream = {};
  // zlib does not write through next_in; its type lacks the const.
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (inflateInit2(&stream, kRawDeflateWindowBits) != Z_OK) return NoDecoder();
  const int result = inflate(&stream, Z_FINISH);
  const uInt missing = stream.avail_out;
  inflateEnd(&stream);
  if (result == Z_MEM_ERROR) return NoDecoder();
  if (result != Z_STREAM_END && result != Z_BUF_ERROR) return Corrupt("not a deflate stream");
  if (missing != 0) {
    return Corrupt(fmt::format("it decodes to {} of {} bytes", out.size() - missing, out.size()));
  }
  return {};
}

Status DecompressDeflate(std::span<const std::byte> compressed, std::span<std::byte> out) {
  thread_local std::unique_ptr<libdeflate_decompressor, FreeDeflate> decoder;
  if (decoder == nullptr) decoder.reset(libdeflate_alloc_decompressor());
  if (decoder == nullptr) return NoDecoder();
  size_t used = 0;
  size_t written = 0;
  const libdeflate_result result = libdeflate_deflate_decompress_ex(
      decoder.get(), compressed.data(), compressed.size(), out.data(), out.size(), &used, &written);
  if (result == LIBDEFLATE_SUCCESS && written == out.size()) return {};
  return InflateExactly(compressed, out);
}

Status DecompressZstd(std::span<const std::byte> compressed, std::span<std::byte> out) {
  thread_local std::unique_ptr<ZSTD_DCtx, FreeZstd> decoder;
  if (decoder == nullptr) decoder.reset(ZSTD_createDCtx());
  if (decoder == nullptr) return NoDecoder();
  size_t filled = 0;
  for (int frames = 0; filled < out.size(); ++frames) {
    if (frames == kMaxFrames) return Corrupt(fmt::format("more than {} zstd frames", kMaxFrames));
    const size_t frame = ZSTD_findFrameCompressedSize(compressed.data(), compressed.size());
    if (ZSTD_isError(frame) != 0) {
      return Corrupt(fmt::format("zstd says: {}", ZSTD_getErrorName(frame)));
    }
    const std::span<std::byte> rest = out.subspan(filled);
    const size_t written =
        ZSTD_decompressDCtx(decoder.get(), rest.data(), rest.size(), compressed.data(), frame);
    if (ZSTD_isError(written) != 0) {
      return Corrupt(fmt::format("zstd says: {}", ZSTD_getErrorName(written)));
    }
    filled += written;
    compressed = compressed.subspan(frame);
  }
  return {};
}

}  // namespace

Status DecompressCluster(uint8_t compression_type, std::span<const std::byte> compressed,
                         std::span<std::byte> out) {
  switch (compression_type) {
    case kCompressionZlib:
      return DecompressDeflate(compressed, out);
    case kCompressionZstd:
      return DecompressZstd(compressed, out);
    default:
      return Fail(ErrorKind::kUnsupported,
                  fmt::format("compression type {} is not supported", compression_type));
  }
}

}  // namespace chainfs::qcow2
