// SPDX-License-Identifier: Apache-2.0
#include "fusefs/sandbox/sandbox.h"

#include <sys/prctl.h>

#include <cerrno>

#include "fusefs/sandbox/capabilities.h"
#include "fusefs/sandbox/landlock.h"
#include "fusefs/sandbox/syscall_filter.h"

namespace chainfs::sandbox {

Result<std::vector<std::string>> Confine(const Policy& policy) {
  std::vector<std::string> lacking;
  // Landlock and seccomp ask for it.
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return FailErrno(errno, "sandbox: no new privileges");
  }
  // Names are resolved with the rights that we still have.
  CHAINFS_ASSIGN(const bool landlocked, RestrictFiles(policy));
  if (!landlocked) {
    lacking.emplace_back(
        "this kernel has no Landlock (or it is not in lsm=); the daemon could reach files outside "
        "its directories");
  }
  CHAINFS_TRY(DropCapabilities());
  CHAINFS_ASSIGN(const bool filtered, FilterSystemCalls());
  if (!filtered) lacking.emplace_back("this kernel has no seccomp; no system call is refused");
  return lacking;
}

}  // namespace chainfs::sandbox
