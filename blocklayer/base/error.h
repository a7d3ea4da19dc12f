// SPDX-License-Identifier: Apache-2.0
//
// Error: what went wrong, in a form that a program can act on (kind, errno) and a person can read
// (one sentence: what, which file, why, and where it helps, what to do).
//
// Callers match on `kind`; `message` is for people only. fusefs/ maps an Error to the errno of a
// reply in one place. Values are immutable in spirit and free of threads.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace chainfs {

enum class ErrorKind : uint8_t {
  kIo,               // the host file failed (sys_errno says how)
  kNoSpace,          // ENOSPC or EDQUOT from the host
  kNoMemory,         // an allocation failed
  kInvalidFormat,    // the bytes are not a legal image of the stated format
  kUnsupported,      // legal, but a feature that chainfs does not implement
  kCorrupt,          // metadata contradicts itself; data behind it cannot be trusted
  kInvalidArgument,  // the caller's value is malformed or out of range
  kNotFound,         // no such file, layer or disk
  kNoSuchJob,        // no job of that id
  kExists,           // id or target exists already
  kBusy,             // in use: by a lock, a job or another chain
  kPermission,       // the caller may not
  kAccess,           // a path leads outside the permitted directories
  kReadOnly,         // the layer, disk or mount is read-only
  kLoop,             // a chain that contains itself, or is deeper than the limit
  kStale,            // the chain has changed since the caller looked (generation)
  kCancelled,        // a job was cancelled
  kShutdown,         // the mount is going away
};

// The stable word for a kind, e.g. "corrupt"; used in logs and JSON.
std::string_view ErrorKindName(ErrorKind kind);

struct Error {
  ErrorKind kind = ErrorKind::kIo;
  int sys_errno = 0;    // the host's errno where there was one, else 0
  std::string message;  // one line, no trailing full stop or newline
};

// What an errno means, for people; for some with what to do. Of static storage.
std::string_view ErrnoText(int saved_errno);

// std::unexpected for `return Fail(kind, "...")`.
std::unexpected<Error> Fail(ErrorKind kind, std::string message);

// The same for a failed system call: kind from `saved_errno` (ENOSPC and EDQUOT -> kNoSpace,
// ENOENT -> kNotFound, EACCES/EPERM -> kPermission, ELOOP/EXDEV -> kAccess, EROFS -> kReadOnly,
// EEXIST -> kExists, ENOMEM -> kNoMemory, EBUSY/EAGAIN -> kBusy, otherwise kIo);
// message "`what`: ErrnoText".
std::unexpected<Error> FailErrno(int saved_errno, std::string_view what);

// Puts "`context`: " before the message of an error on its way up.
Error WithContext(Error error, std::string_view context);

}  // namespace chainfs
