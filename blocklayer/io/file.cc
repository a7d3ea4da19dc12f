// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/file.h"

#include <fmt/format.h>

namespace chainfs {

Status File::DataSync() {
  if (poisoned()) {
    return Fail(ErrorKind::kIo,
                fmt::format("{}: an earlier flush failed, so its contents are not certain; "
                            "unmount, check the image and mount again",
                            path()));
  }
  try {
    Status synced = DoDataSync();
    if (!synced) poisoned_.store(true, std::memory_order_release);
    return synced;
  } catch (...) {
    // There was no memory to say what failed; but something did.
    poisoned_.store(true, std::memory_order_release);
    throw;
  }
}

Status File::SetPermissions(mode_t /*permissions*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: its mode cannot be changed", path()));
}

Status File::ReopenForWriting() {
  if (writable()) return {};
  return Fail(ErrorKind::kReadOnly, fmt::format("{}: can only be read", path()));
}

Status File::Allocate(HostOffset /*offset*/, uint64_t /*length*/) {
  return Fail(ErrorKind::kUnsupported, path() + ": its host cannot set space aside");
}

Status File::SetOwner(uid_t /*owner*/, gid_t /*group*/) {
  return Fail(ErrorKind::kUnsupported, fmt::format("{}: has no owner", path()));
}

Result<uint64_t> File::Size() {
  CHAINFS_ASSIGN(const FileStat stat, Stat());
  return stat.size;
}

}  // namespace chainfs
