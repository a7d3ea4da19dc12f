// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/text_stream.h"

#include <algorithm>
#include <chrono>

namespace chainfs::control {

Result<std::string> TextStream::Read(uint64_t offset, size_t size) {
  // How much of what was read stays, in case a reader asks again for the last bytes.
  constexpr size_t kKept = size_t{2} << 20;
  constexpr std::chrono::milliseconds kLongest(200);
  const MutexLock lock(mu_);
  const auto deadline = std::chrono::steady_clock::now() + kLongest;
  if (offset < start_) {
    return Fail(ErrorKind::kInvalidArgument, "this file can only be read forward");
  }
  while (!ended_ && start_ + text_.size() < offset + size) {
    CHAINFS_ASSIGN(const bool more, producer_(&text_));
    ended_ = !more;
    const bool any = start_ + text_.size() > offset;
    if (any && std::chrono::steady_clock::now() > deadline) break;
    if (offset > start_ + kKept && text_.size() > kKept) {
      const uint64_t drop = std::min<uint64_t>(offset - start_ - kKept, text_.size());
      text_.erase(0, drop);
      start_ += drop;
    }
  }
  const uint64_t skip = std::min<uint64_t>(offset - start_, text_.size());
  return text_.substr(skip, size);
}

}  // namespace chainfs::control
