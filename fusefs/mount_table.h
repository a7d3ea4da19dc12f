// SPDX-License-Identifier: Apache-2.0
//
// The mount as the host's kernel sees it from outside the session: stale ones, unmounting, and the
// knobs in /sys. As root directly, otherwise by fusermount3.
//
// Unmount and SyncMount wait for whoever serves the mount: not for the process that does.
//
// Threads: no state.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"

namespace chainfs::fusefs {

// A mount whose daemon has died (ENOTCONN), or is dying and cannot (dying_server.h), is taken away;
// then `mountpoint` must be a directory where no chainfs is mounted (kBusy), and none of the
// `needed` paths may be it or lie beneath: the mount would hide them, and the daemon would wait for
// itself. Its path without symbolic links, as the kernel's tables show it.
Result<std::string> PrepareMountpoint(const std::string& mountpoint,
                                      const std::vector<std::string>& needed);

// kBusy when a chainfs is mounted at `mountpoint`, a path without symbolic links.
Status CheckNotMounted(const std::string& mountpoint);

enum class UnmountMode : uint8_t {
  kPolite,  // kBusy while anybody uses it; writes back what the kernel holds
  kLazy,    // gone from the tree at once
};
Status Unmount(const std::string& mountpoint, UnmountMode mode);

// "0:52": the device number of what is mounted there last; nothing when nothing of ours is.
std::optional<std::string> MountDevice(const std::string& mountpoint);
// "0:52" as st_dev has it; 0 for another text.
dev_t DeviceNumber(const std::string& device);
// The kernel offers 128 KiB in the FUSE handshake; root may have more. Failure does not matter.
void RaiseReadAhead(const std::string& device, unsigned kibibytes);
// Asks the kernel to write back what it holds of the mount's files.
void SyncMount(const std::string& mountpoint);

}  // namespace chainfs::fusefs
