// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/exit_code.h"

#include <array>
#include <cerrno>
#include <utility>

namespace chainfs::chainctl {
namespace {

constexpr std::array kExitCodes = {
    ExitCodeRow{ExitCode::kDone, "done"},
    ExitCodeRow{ExitCode::kFailed, "failed"},
    ExitCodeRow{ExitCode::kUsage, "usage: the command line itself is wrong (check: corruptions)"},
    ExitCodeRow{ExitCode::kCancelled,
                "the job was cancelled, or the question was not answered yes (check: leaks only)"},
    ExitCodeRow{ExitCode::kStillRunning,
                "waiting timed out or was given up; the job, or the daemon, is still at work"},
    ExitCodeRow{ExitCode::kRefused,
                "refused: busy, at another generation, or the id or target exists"},
    ExitCodeRow{ExitCode::kNotChainfs, "not a chainfs file or mount, or its daemon is gone"},
    ExitCodeRow{ExitCode::kNotPermitted, "not permitted"},
    ExitCodeRow{ExitCode::kNotCheckable, "check: the format has nothing to check"},
};

ExitCode FromKind(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return ExitCode::kUsage;
    case ErrorKind::kExists:
    case ErrorKind::kBusy:
    case ErrorKind::kStale:
      return ExitCode::kRefused;
    case ErrorKind::kShutdown:
      return ExitCode::kNotChainfs;
    case ErrorKind::kPermission:
    case ErrorKind::kAccess:
      return ExitCode::kNotPermitted;
    case ErrorKind::kCancelled:
      return ExitCode::kCancelled;
    default:
      return ExitCode::kFailed;
  }
}

}  // namespace

std::span<const ExitCodeRow> ExitCodes() { return kExitCodes; }

ExitCode ExitCodeFor(const Error& error) {
  switch (error.sys_errno) {
    case 0:
      return FromKind(error.kind);
    case EBUSY:
    case ECANCELED:
    case EEXIST:
      return ExitCode::kRefused;
    case ENOTCONN:
    case ECONNABORTED:
    case ESHUTDOWN:
    case ENODATA:
      return ExitCode::kNotChainfs;
    case EPERM:
    case EACCES:
      return ExitCode::kNotPermitted;
    default:
      return ExitCode::kFailed;
  }
}

std::unexpected<Error> FailMounted(int saved_errno, std::string message) {
  Error error = FailErrno(saved_errno, "").error();
  error.message = std::move(message);
  return std::unexpected(std::move(error));
}

}  // namespace chainfs::chainctl
