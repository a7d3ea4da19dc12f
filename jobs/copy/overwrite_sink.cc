// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/overwrite_sink.h"

#include <algorithm>
#include <utility>

namespace chainfs::jobs {

OverwriteSink::OverwriteSink(WritableImage& image, std::shared_ptr<const BackingReader> below)
    : image_(image), below_(std::move(below)) {}

Status OverwriteSink::Write(GuestOffset offset, std::span<const std::byte> data) {
  return image_.Write(offset, data, below_.get());
}

bool OverwriteSink::IsZero(const Extent& extent) const {
  return extent.kind == ExtentKind::kZero ||
         (extent.kind == ExtentKind::kUnallocated && below_ == nullptr);
}

Status OverwriteSink::Zero(GuestOffset offset, uint64_t length) {
  const uint64_t end = offset.value + length;
  uint64_t dirty = offset.value;  // from here to `at` it does not read as zeros yet
  const auto write = [&](uint64_t stop) {
    return dirty == stop ? Status()
                         : image_.WriteZeroes(GuestOffset(dirty), stop - dirty,
                                              /*keep_allocated=*/false, below_.get());
  };
  for (uint64_t at = offset.value; at < end;) {
    CHAINFS_ASSIGN(const Extent extent, image_.Map(GuestOffset(at), end - at, MapDetail::kPrecise));
    const uint64_t stop = at + std::min(extent.length, end - at);
    if (IsZero(extent)) {
      CHAINFS_TRY(write(at));
      dirty = stop;
    }
    at = stop;
  }
  return write(end);
}

}  // namespace chainfs::jobs
