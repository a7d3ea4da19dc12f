// SPDX-License-Identifier: Apache-2.0
//
// Whether a disk may be written, and what people are told when it may not.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "blocklayer/chain/disk.h"

namespace chainfs {

bool Disk::read_only() const {
  return read_only_.load() || forbidden_.load() || !chain()->active->image->writable();
}

std::string Disk::ReadOnlyReason() const {
  if (!read_only()) return {};
  {
    const MutexLock lock(reason_mu_);
    if (!forbidden_reason_.empty()) return forbidden_reason_;
    if (read_only_.load() && !reason_.empty()) return reason_;
  }
  std::string why = chain()->active->ReadOnlyReason();
  return why.empty() ? "it is just being made so, or writable again" : why;
}

void Disk::SetReadOnlyReason(std::string why) {
  const MutexLock lock(reason_mu_);
  reason_ = std::move(why);
}

void Disk::ForbidWriting(std::string why) {
  {
    const MutexLock lock(reason_mu_);
    forbidden_reason_ = std::move(why);
  }
  forbidden_.store(true);
}

Status Disk::CheckChange(const Chain& chain, GuestOffset offset, uint64_t length) const {
  Image& active = *chain.active->image;
  if (read_only_.load() || forbidden_.load() || !active.writable()) {
    const std::string why = ReadOnlyReason();
    const bool has_overlay = why.ends_with(" is built on it");
    return Fail(ErrorKind::kReadOnly,
                fmt::format("{} is read-only: {}{}", name_, why,
                            has_overlay ? "; to write, create an overlay of it and use that" : ""));
  }
  const uint64_t size = active.virtual_size();
  if (offset.value > size || length > size - offset.value) {
    return Fail(
        ErrorKind::kNoSpace,
        fmt::format("{}: {} bytes at {} pass the end of the disk ({} bytes); resize it first",
                    name_, length, offset.value, size));
  }
  return {};
}

}  // namespace chainfs
