// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/abort_switch.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/support/deaf_server.h"

namespace chainfs {
namespace {

TEST(AbortSwitch, ThereIsNoneOfOtherMounts) {
  for (const char* const device : {"", "0", "8:1", "0:", "0:4000000000"}) {
    EXPECT_FALSE(OpenAbortSwitch(device).valid()) << device;
  }
  EXPECT_FALSE(AbortConnection(UniqueFd()));
  EXPECT_FALSE(IsAbortSwitch("/proc/self/fd/0", "0:52"));
  EXPECT_FALSE(IsAbortSwitch("/proc/self/fd/999999", "0:52"));
}

// Nothing must be left mounted, so the whole of it happens in a mount namespace.
int UseSwitchWithoutFusectl() {
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return 1;
  }
  while (::umount2("/sys/fs/fuse/connections", MNT_DETACH) == 0) continue;
  const DeafServer server([](const std::string& path) {
    struct statfs fs = {};
    ::statfs(path.c_str(), &fs);
  });
  if (!server.serving()) return 2;
  const std::string device = server.device();
  const UniqueFd opened = OpenAbortSwitch(device);
  if (!opened.valid()) return 3;
  const std::string fd = "/proc/self/fd/" + std::to_string(opened.get());
  if (!IsAbortSwitch(fd, device) || IsAbortSwitch(fd, device + "0")) return 4;
  if (!AbortConnection(opened)) return 5;
  return server.EndsWithin(30) ? 0 : 6;
}

TEST(AbortSwitch, RootHasItWhereNobodyHasMountedFusectl) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root mounts";
  const pid_t child = ::fork();
  if (child == 0) ::_exit(UseSwitchWithoutFusectl());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace chainfs
