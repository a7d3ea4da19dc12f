// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/cluster_compressor.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <memory>
#include <optional>

namespace chainfs::jobs {
namespace {

// QEMU inflates with this window and cannot read what was deflated with a larger one. Negative:
// without header and checksum.
constexpr int kDeflateWindowBits = -12;
constexpr int kDeflateMemoryLevel = 9;
constexpr int kZstdLevel = 3;

// One deflate state of a thread, for as long as it lives.
class Deflater {
 public:
  Deflater()
      : ready_(deflateInit2(&stream_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kDeflateWindowBits,
                            kDeflateMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK) {}
  ~Deflater() {
    if (ready_) deflateEnd(&stream_);
  }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  // Bytes written to `out`; 0 when they do not fit. Nothing: no memory.
  std::optional<size_t> Run(std::span<const std::byte> in, std::span<std::byte> out) {
    if (!ready_ || deflateReset(&stream_) != Z_OK) return std::nullopt;
    // zlib does not write through next_in; its type lacks the const.
    stream_.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    if (deflate(&stream_, Z_FINISH) != Z_STREAM_END) return 0;
    return out.size() - stream_.avail_out;
  }

 private:
  z_stream stream_ = {};
  const bool ready_;
};

struct FreeZstdEncoder {
  void operator()(ZSTD_CCtx* encoder) const { ZSTD_freeCCtx(encoder); }
};

std::optional<size_t> RunZstd(std::span<const std::byte> in, std::span<std::byte> out) {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeZstdEncoder> encoder(ZSTD_createCCtx());
  if (encoder == nullptr) return std::nullopt;
  const size_t written =
      ZSTD_compressCCtx(encoder.get(), out.data(), out.size(), in.data(), in.size(), kZstdLevel);
  if (ZSTD_isError(written) == 0) return written;
  if (ZSTD_getErrorCode(written) == ZSTD_error_memory_allocation) return std::nullopt;
  return 0;
}

std::optional<size_t> RunDeflate(std::span<const std::byte> in, std::span<std::byte> out) {
  thread_local Deflater deflater;
  return deflater.Run(in, out);
}

}  // namespace

Status CompressCluster(ImageCompression compression, std::span<const std::byte> cluster,
                       std::vector<std::byte>& out) {
  out.resize(cluster.size() - 1);
  const std::optional<size_t> written =
      compression == ImageCompression::kZlib ? RunDeflate(cluster, out) : RunZstd(cluster, out);
  if (!written) return Fail(ErrorKind::kNoMemory, "not enough memory for a compressor");
  out.resize(*written);
  return {};
}

}  // namespace chainfs::jobs
