// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/amend.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/formats/qcow2/header_update.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/qcow2/table_reader.h"
#include "blocklayer/formats/qcow2/version_change.h"

namespace chainfs {
namespace qcow2 {
namespace {

constexpr uint64_t kExpandedAtOnce = 2 << 20;

// Clusters that read as zeros become ones that version 2 can say.
Status ExpandZeros(WritableImage& image) {
  const uint64_t size = image.virtual_size();
  const std::vector<std::byte> zeros(kExpandedAtOnce);
  for (uint64_t at = 0; at < size;) {
    CHAINFS_ASSIGN(
        const Extent extent,
        image.Map(GuestOffset(at), std::min(size - at, kExpandedAtOnce), MapDetail::kFast));
    const uint64_t length = std::min(extent.length, kExpandedAtOnce);
    if (extent.kind == ExtentKind::kZero && image.backing()) {
      CHAINFS_TRY(image.Write(GuestOffset(at), std::span(zeros).first(length), nullptr));
    } else if (extent.kind == ExtentKind::kZero) {
      // Nothing is below, so what is unallocated reads as zeros, too.
      CHAINFS_TRY(image.Unpopulate(GuestOffset(at), length));
    }
    at += length;
  }
  return image.Flush();
}

// Also behind the end of the disk, where no reader looks yet.
Status CheckNoZeroFlags(File& file) {
  CHAINFS_ASSIGN(const Qcow2Header header, ReadQcow2Header(file));
  const Geometry geometry = header.geometry();
  return ForEachL1Entry(
      file, header.l1_offset, header.l1_entries, [&](uint64_t, uint64_t l1) -> Status {
        const HostOffset table(l1 & kEntryOffsetMask);
        if (table.value == 0) return {};
        CHAINFS_ASSIGN(const std::vector<L2Entry> entries, ReadL2Table(file, geometry, table));
        for (const L2Entry& entry : entries) {
          const ClusterKind kind = geometry.l2().Decode(entry).kind;
          if (kind != ClusterKind::kZeroPlain && kind != ClusterKind::kZeroAllocated) continue;
          return Fail(ErrorKind::kUnsupported,
                      fmt::format("{}: has zero clusters behind its end, which version 2 cannot "
                                  "say; use qemu-img amend",
                                  file.path()));
        }
        return {};
      });
}

Status ChangeVersion(File& file, uint32_t version, bool lazy_refcounts) {
  CHAINFS_ASSIGN(const VersionChange change, PlanVersionChange(file, version, lazy_refcounts));
  if (!change.early.empty()) {
    CHAINFS_TRY(file.WriteAt(HostOffset(change.early_offset), change.early));
    CHAINFS_TRY(file.DataSync());
  }
  CHAINFS_TRY(UpdateFirstSector(
      file, [&](HeaderSector sector) { std::ranges::copy(change.sector, sector.begin()); }));
  return file.DataSync();
}

Status ChangeLazyRefcounts(File& file, const Qcow2Header& header, bool lazy) {
  const uint64_t bits = lazy ? header.compatible | kCompatibleLazyRefcounts
                             : header.compatible & ~kCompatibleLazyRefcounts;
  if (bits == header.compatible) return {};
  CHAINFS_TRY(
      UpdateFirstSector(file, [&](HeaderSector sector) { PutCompatibleFeatures(sector, bits); }));
  return file.DataSync();
}

}  // namespace
}  // namespace qcow2

Status AmendQcow2(std::unique_ptr<File> file, MetadataCache& cache,
                  const Qcow2AmendOptions& options) {
  using namespace qcow2;
  // A dirty one is repaired by this.
  CHAINFS_ASSIGN(
      const std::unique_ptr<WritableImage> image,
      OpenQcow2Image(std::move(file), cache, {.read_only = false, .owner = cache.NewOwner()}));
  const std::string& path = image->file().path();
  if (!image->writable()) {
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{}: cannot be changed: {}", path, image->read_only_reason()));
  }
  CHAINFS_ASSIGN(const Qcow2Header header, ReadQcow2Header(image->file()));
  const uint32_t version = options.version.value_or(header.version);
  const bool was_lazy = (header.compatible & kCompatibleLazyRefcounts) != 0;
  const bool lazy = options.lazy_refcounts.value_or(was_lazy && version >= 3);
  if (version < 3 && lazy) {
    return Fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: lazy refcounts need version 3 (compat=1.1)", path));
  }
  if (version < header.version) {
    // What is refused is so before anything is changed.
    CHAINFS_TRY(PlanVersionChange(image->file(), version, lazy));
    CHAINFS_TRY(ExpandZeros(*image));
  }
  CHAINFS_TRY(image->Close());
  File& closed = image->file();
  if (version < header.version) CHAINFS_TRY(CheckNoZeroFlags(closed));
  if (version != header.version) return ChangeVersion(closed, version, lazy);
  return ChangeLazyRefcounts(closed, header, lazy);
}

}  // namespace chainfs
