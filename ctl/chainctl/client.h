// SPDX-License-Identifier: Apache-2.0
//
// The public interface of a mount, as a program sees it: attributes of the mounted files and of the
// mount point, and the files of MNT/.chainfs. Everything chainctl knows comes through here.
//
// Error messages are "PATH: reason" and carry the errno that decides the exit code. ENODATA for a
// status attribute means that the path is not ours; ENOTCONN that the daemon died.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

// A flat disk in a mount.
struct DiskPath {
  std::string path;   // absolute, symbolic links resolved
  std::string mount;  // the mount point
  std::string shown;  // as the user wrote it, for messages
};

Result<DiskPath> FindDisk(const std::string& path);
// The mount point `path` is, or lies in.
Result<std::string> FindMount(const std::string& path);
// The error of a mount whose daemon has died.
std::unexpected<Error> FailDaemonGone(int saved_errno, std::string_view path);
// Whether another user's mount was met, which this user may not look into (mounted without
// allow_other): no fault when nobody asked for that mount.
bool IsOutOfSight(const Error& error);
// `given`, checked, or all that there are, which may be none.
Result<std::vector<std::string>> MountsOrAll(const std::optional<std::string>& given);

// The value of user.chainfs.`name`.
Result<std::string> ReadAttribute(const std::string& path, std::string_view name);
Result<nlohmann::json> ReadJsonAttribute(const std::string& path, std::string_view name);

// A command for the daemon. A refusal's message is the daemon's own sentence where it left one.
struct Command {
  std::string verb;
  std::string value;
  bool verbose = false;  // say the equivalent setfattr line on stderr
};
Status Send(const DiskPath& disk, const Command& command);

// A whole file of MNT/.chainfs, such as "chains.json".
Result<std::string> ReadVirtualFile(const std::string& mount, const std::string& name);
Result<nlohmann::json> ReadJsonFile(const std::string& mount, const std::string& name);

// fsync: what programs have written through the page cache reaches the daemon, and the disk.
Status SyncDisk(const DiskPath& disk);

// The kernel forgets what it knew of the disk, and of those that dropped layers had, in its own
// time. Who opens it next is to find the right size, and that it can be written. Returns the value
// of user.chainfs.info, after 2 seconds as it is.
Result<nlohmann::json> WaitUntilUsable(const DiskPath& disk);

}  // namespace chainfs::chainctl
