// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/corruption.h"

#include <fmt/format.h>

namespace chainfs::qcow2 {

std::unexpected<Error> CorruptEntry(std::string_view path, std::string_view what, uint64_t value) {
  return Fail(ErrorKind::kCorrupt,
              fmt::format("{}: the image is corrupt: bad {} {:#x}; look at it with qemu-img check",
                          path, what, value));
}

bool Corruption::Note(std::string why) {
  if (why.starts_with(prefix_)) why.erase(0, prefix_.size());
  MutexLock lock(mu_);
  if (found_.load(std::memory_order_relaxed)) return false;
  reason_ = std::move(why);
  found_.store(true, std::memory_order_release);
  return true;
}

std::string Corruption::reason() const {
  MutexLock lock(mu_);
  return reason_;
}

}  // namespace chainfs::qcow2
