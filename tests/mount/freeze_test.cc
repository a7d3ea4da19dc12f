// SPDX-License-Identifier: Apache-2.0
//
// Overlays that are not shown make their base read-only; the user is told; and a name that leads
// into a mount that does not answer holds up nobody.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/mount/control.h"
#include "tests/mount/images.h"

namespace chainfs {
namespace {

using std::chrono::milliseconds;

template <typename Holds>
bool Soon(const Holds& holds) {
  for (int i = 0; i < 100; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(50));
  }
  return false;
}

bool IsWritable(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

TEST(FreezeTest, ALibvirtSnapshotMakesItsBaseReadOnlyAndIsNoted) {
  TempDir images;
  MustRun({"qemu-img", "create", "-q", "-f", "qcow2", images / "vm1.qcow2", "1M"});
  Daemon daemon({images.path()});
  ASSERT_TRUE(daemon.serving());
  EXPECT_TRUE(IsWritable(daemon / "vm1.raw"));
  MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "vm1.qcow2", "-F", "qcow2",
           images / "vm1.snap1", "1M"});
  EXPECT_TRUE(Soon([&] { return !IsWritable(daemon / "vm1.raw"); }));
  // The reason follows a moment after the change.
  const std::string text = "vm1.snap1 is built on it; give it the name vm1.snap1.qcow2";
  const auto says = [&](const std::vector<std::string>& command) {
    return Soon([&] {
      const CommandResult shown = RunCommand(command);
      return (shown.out + shown.err).find(text) != std::string::npos;
    });
  };
  EXPECT_TRUE(says({BinaryPath("chainctl"), "list", daemon.path()}));
  EXPECT_TRUE(says({BinaryPath("chainctl"), "info", daemon / "vm1.raw"}));
  ASSERT_EQ(::unlink((images / "vm1.snap1").c_str()), 0);
  EXPECT_TRUE(Soon([&] { return IsWritable(daemon / "vm1.raw"); }));
  const CommandResult ended = daemon.Stop();
  const std::string said = ended.out + ended.err;
  const size_t first = said.find("vm1.snap1 is built on it");
  ASSERT_NE(first, std::string::npos) << said;
  EXPECT_EQ(said.find("vm1.snap1 is built on it", first + 1), std::string::npos) << said;
}

// Also not a chainfs mount, be it one's own: the scan would wait for itself.
TEST(FreezeTest, NamesThatLeadIntoAMountAreNotFollowed) {
  TempDir images;
  TempDir others;
  MustRun({"qemu-img", "create", "-q", "-f", "qcow2", images / "vm1.qcow2", "1M"});
  MustRun({"qemu-img", "create", "-q", "-f", "qcow2", others / "vm2.qcow2", "1M"});
  Daemon stuck({others.path()});
  Daemon daemon({images.path()});
  ASSERT_TRUE(stuck.serving());
  ASSERT_TRUE(daemon.serving());
  ASSERT_EQ(::kill(stuck.pid(), SIGSTOP), 0);
  int n = 0;
  for (const std::string& name : {stuck / "vm2.raw", stuck / "sub/vm2.raw", stuck.path(),
                                  daemon / "vm1.raw", daemon / "nothing.raw"}) {
    for (const char* extension : {".qcow2", ".snap"}) {
      MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw",
               images / ("over" + std::to_string(++n) + extension), "1M"});
    }
  }
  MustRun({"qemu-img", "create", "-q", "-f", "qcow2", images / "last.qcow2", "1M"});
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(Soon([&] { return IsWritable(daemon / "last.raw"); }));
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(4000));
  ASSERT_EQ(::kill(stuck.pid(), SIGCONT), 0);
  EXPECT_TRUE(IsWritable(daemon / "vm1.raw"));
}

}  // namespace
}  // namespace chainfs
