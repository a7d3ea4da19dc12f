// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/errno_map.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace chainfs::control {

int ErrnoOf(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kIo:
      return error.sys_errno == EFBIG ? EFBIG : EIO;
    case ErrorKind::kNoSpace:
      return error.sys_errno == EDQUOT ? EDQUOT : ENOSPC;
    case ErrorKind::kNoMemory:
      return ENOMEM;
    case ErrorKind::kInvalidFormat:
    case ErrorKind::kCorrupt:
      return EIO;
    case ErrorKind::kUnsupported:
      return EOPNOTSUPP;
    case ErrorKind::kInvalidArgument:
      return EINVAL;
    case ErrorKind::kNotFound:
      return ENOENT;
    case ErrorKind::kNoSuchJob:
      return ESRCH;
    case ErrorKind::kExists:
      return EEXIST;
    case ErrorKind::kBusy:
      return EBUSY;
    case ErrorKind::kPermission:
      return EPERM;
    case ErrorKind::kAccess:
      return EACCES;
    case ErrorKind::kReadOnly:
      return EROFS;
    case ErrorKind::kLoop:
      return ELOOP;
    case ErrorKind::kStale:
    case ErrorKind::kCancelled:
      return ECANCELED;
    case ErrorKind::kShutdown:
      return ESHUTDOWN;
  }
  return EIO;
}

std::string ErrnoName(int number) {
  const char* name = strerrorname_np(number);
  return name != nullptr ? std::string(name) : fmt::format("errno {}", number);
}

}  // namespace chainfs::control
