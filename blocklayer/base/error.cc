// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace chainfs {
namespace {

ErrorKind KindOfErrno(int saved_errno) {
  switch (saved_errno) {
    case ENOSPC:
    case EDQUOT:
      return ErrorKind::kNoSpace;
    case ENOENT:
    case ENOTDIR:
      return ErrorKind::kNotFound;
    case EACCES:
    case EPERM:
      return ErrorKind::kPermission;
    case ELOOP:
    case EXDEV:
      return ErrorKind::kAccess;
    case EROFS:
      return ErrorKind::kReadOnly;
    case EEXIST:
      return ErrorKind::kExists;
    case ENOMEM:
      return ErrorKind::kNoMemory;
    case EBUSY:
    case EAGAIN:
      return ErrorKind::kBusy;
    default:
      return ErrorKind::kIo;
  }
}

}  // namespace

std::string_view ErrorKindName(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kIo:
      return "io";
    case ErrorKind::kNoSpace:
      return "no-space";
    case ErrorKind::kNoMemory:
      return "no-memory";
    case ErrorKind::kInvalidFormat:
      return "invalid-format";
    case ErrorKind::kUnsupported:
      return "unsupported";
    case ErrorKind::kCorrupt:
      return "corrupt";
    case ErrorKind::kInvalidArgument:
      return "invalid-argument";
    case ErrorKind::kNotFound:
      return "not-found";
    case ErrorKind::kNoSuchJob:
      return "no-such-job";
    case ErrorKind::kExists:
      return "exists";
    case ErrorKind::kBusy:
      return "busy";
    case ErrorKind::kPermission:
      return "permission";
    case ErrorKind::kAccess:
      return "access";
    case ErrorKind::kReadOnly:
      return "read-only";
    case ErrorKind::kLoop:
      return "loop";
    case ErrorKind::kStale:
      return "stale";
    case ErrorKind::kCancelled:
      return "cancelled";
    case ErrorKind::kShutdown:
      return "shutdown";
  }
  return "unknown";
}

std::unexpected<Error> Fail(ErrorKind kind, std::string message) {
  return std::unexpected(Error{.kind = kind, .sys_errno = 0, .message = std::move(message)});
}

std::string_view ErrnoText(int saved_errno) {
  if (saved_errno == EMFILE) {
    return "too many open files; raise the limit (ulimit -n, or LimitNOFILE= of a systemd unit)";
  }
  if (saved_errno == ENFILE) {
    return "too many open files on this host; raise the limit (sysctl fs.file-max)";
  }
  // strerrordesc_np is thread-safe and independent of the locale, unlike strerror.
  const char* reason = strerrordesc_np(saved_errno);
  return reason != nullptr ? reason : "unknown error";
}

std::unexpected<Error> FailErrno(int saved_errno, std::string_view what) {
  return std::unexpected(Error{.kind = KindOfErrno(saved_errno),
                               .sys_errno = saved_errno,
                               .message = fmt::format("{}: {}", what, ErrnoText(saved_errno))});
}

Error WithContext(Error error, std::string_view context) {
  error.message = fmt::format("{}: {}", context, error.message);
  return error;
}

}  // namespace chainfs
