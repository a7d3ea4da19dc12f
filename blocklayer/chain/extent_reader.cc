// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/extent_reader.h"

#include <algorithm>
#include <cstring>

namespace chainfs {

Status ExtentReader::Add(const Layer& layer, const Extent& extent, GuestOffset offset,
                         std::span<std::byte> out) {
  switch (extent.kind) {
    case ExtentKind::kData:
      return AddData(layer.image->source(extent.source), extent.host, out);
    case ExtentKind::kCompressed:
      return AddCompressed(layer, extent, offset, out);
    case ExtentKind::kZero:
    case ExtentKind::kUnallocated:
      std::memset(out.data(), 0, out.size());
      return {};
  }
  return Fail(ErrorKind::kCorrupt, layer.path + ": an extent of unknown kind");
}

Status ExtentReader::AddData(ByteSource& source, HostOffset host, std::span<std::byte> out) {
  if (source_ == &source && host == host_ + out_.size() &&
      out.data() == out_.data() + out_.size()) {
    out_ = std::span(out_.data(), out_.size() + out.size());
    return {};
  }
  CHAINFS_TRY(Finish());
  source_ = &source;
  host_ = host;
  out_ = out;
  return {};
}

Status ExtentReader::AddCompressed(const Layer& layer, const Extent& extent, GuestOffset offset,
                                   std::span<std::byte> out) {
  const uint64_t within = offset.Within(layer.image->cluster_size());
  if (out.size() > layer.image->cluster_size() - within) {
    return Fail(ErrorKind::kCorrupt, layer.path + ": a compressed extent passes its cluster");
  }
  const DecodedCache::Place place{layer.owner_id, extent.source, extent.host};
  return decoded_.Read(
      place, layer.image->cluster_size(), within, out,
      [&](std::span<std::byte> cluster) { return layer.image->ReadCompressed(extent, cluster); });
}

Status ExtentReader::Finish() {
  if (source_ == nullptr) return {};
  Status status = source_->ReadZeroFilled(host_, out_);
  source_ = nullptr;
  return status;
}

}  // namespace chainfs
