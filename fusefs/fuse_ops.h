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
#include "fusefs/mount_context.h"

namespace chainfs::fusefs {

inline constexpr int kReplied = -1;
// One read or write request carries at most this many bytes.
inline constexpr size_t kMaxTransfer = size_t{1} << 20;
// What the kernel may remember of names and attributes; changes are announced by the Invalidator.
inline constexpr double kCacheSeconds = 3600;

void LogEscaped(const char* operation, const char* what);

inline MountContext& MountOf(fuse_req_t req) {
  return *static_cast<MountContext*>(fuse_req_userdata(req));
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

}  // namespace chainfs::fusefs
