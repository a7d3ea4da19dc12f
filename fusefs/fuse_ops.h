// SPDX-License-Identifier: Apache-2.0
//
// The FUSE callbacks. Each one answers its request exactly once: it returns the errno to reply
// with (0: success without data), or kReplied when it has answered or parked the request. Serve is
// the guard around all of them: nothing that is thrown escapes into libfuse.
//
// A handler holds no lock when it replies, because the reply may let the kernel drop the last
// reference and call again.
#pragma once

#include <cerrno>
#include <exception>
#include <new>

#include "fusefs/fuse_api.h"
#include "fusefs/mount_state.h"

namespace chainfs::fusefs {

inline constexpr int kReplied = -1;
// One read or write request carries at most this many bytes.
inline constexpr size_t kMaxTransfer = size_t{1} << 20;
// What the kernel may remember of names and attributes; changes are announced by the Invalidator.
inline constexpr double kCacheSeconds = 3600;

void LogEscaped(const char* operation, const char* what);

inline MountState& MountOf(fuse_req_t req) {
  return *static_cast<MountState*>(fuse_req_userdata(req));
}

template <typename Body>
void Serve(fuse_req_t req, const char* operation, const Body& body) {
  int error = EIO;
  try {
    error = body(MountOf(req));
  } catch (const std::bad_alloc&) {
    error = ENOMEM;
  } catch (const std::exception& thrown) {
    LogEscaped(operation, thrown.what());
  } catch (...) {
    LogEscaped(operation, "something unknown");
  }
  if (error != kReplied) fuse_reply_err(req, error);
}

// Each fills in the callbacks of its own file.
void AddEntryOps(fuse_lowlevel_ops* ops);  // names, directories, statfs
void AddAttrOps(fuse_lowlevel_ops* ops);
void AddOpenOps(fuse_lowlevel_ops* ops);
void AddDataOps(fuse_lowlevel_ops* ops);
void AddXattrOps(fuse_lowlevel_ops* ops);
void AddRefusedOps(fuse_lowlevel_ops* ops);  // what a mount of disks does not do

}  // namespace chainfs::fusefs
