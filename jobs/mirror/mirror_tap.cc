// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_tap.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace chainfs::jobs {

MirrorTap::MirrorTap(std::string who, uint64_t size, std::shared_ptr<DirtySet> dirty,
                     std::shared_ptr<MirrorCopy> copy, CopyMode mode)
    : who_(std::move(who)),
      size_(size),
      dirty_(std::move(dirty)),
      copy_(std::move(copy)),
      mode_(mode) {}

Status MirrorTap::BeforeChange(GuestOffset offset, uint64_t length) {
  if (offset.value <= size_ && length <= size_ - offset.value) return {};
  if (!follows_.load()) return {};
  return Fail(
      ErrorKind::kBusy,
      fmt::format("the job {} mirrors the disk, which keeps its size until that has ended", who_));
}

void MirrorTap::AfterChange(GuestOffset offset, uint64_t length) noexcept {
  if (!follows_.load()) return;
  if (mode() == CopyMode::kWriteBlocking && CopyNow(offset.value, length)) return;
  dirty_->Mark(offset.value, length);
}

bool MirrorTap::CopyNow(uint64_t offset, uint64_t length) noexcept {
  try {
    const uint64_t begin = RoundDown(offset, copy_->unit());
    const uint64_t end = std::min(RoundUp(offset + length, copy_->unit()), size_);
    return begin >= end || copy_->Copy(begin, end - begin).has_value();
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace chainfs::jobs
