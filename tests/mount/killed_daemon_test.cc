// SPDX-License-Identifier: Apache-2.0
//
// A daemon that is killed while one of its threads waits for its own mount: it ends by itself where
// it can, and where it cannot, chainctl umount and the next start get everybody out.
#include <sys/mman.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/mount/control.h"
#include "tests/support/deaf_server.h"

namespace chainfs {
namespace {

class KilledDaemonTest : public testing::Test {
 protected:
  void SetUp() override { CreateQcow2(dir_ / "vm.qcow2", {.size = "8M"}); }

  // Has /dev/fuse, and waits for itself.
  static void WaitForItself(const std::string& mountpoint) {
    struct statfs fs = {};
    ::statfs(mountpoint.c_str(), &fs);
  }
  static bool IsMounted(const DeafServer& server) { return !server.device().empty(); }

  const TempDir dir_;
};

TEST_F(KilledDaemonTest, ChainctlUmountEndsOneThatCannotEnd) {
  const DeafServer server(WaitForItself);
  ASSERT_TRUE(server.serving());
  server.Kill();
  EXPECT_FALSE(server.EndsWithin(1));
  const CommandResult result = RunCommand({BinaryPath("chainctl"), "umount", server.path()});
  ASSERT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.err.find("was killed but could not end"), std::string::npos)
      << result.Describe();
  EXPECT_TRUE(server.EndsWithin(20));
  EXPECT_FALSE(IsMounted(server));
}

TEST_F(KilledDaemonTest, TheNextStartEndsOneThatCannotEnd) {
  const DeafServer server(WaitForItself);
  ASSERT_TRUE(server.serving());
  server.Kill();
  EXPECT_FALSE(server.EndsWithin(1));
  const std::vector<std::string> start = {BinaryPath("chainfs"), dir_.path(), server.path()};
  const CommandResult started = RunCommand(start);
  ASSERT_EQ(started.exit_code, 0) << started.Describe();
  EXPECT_NE(started.err.find("was killed but could not end"), std::string::npos)
      << started.Describe();
  EXPECT_TRUE(server.EndsWithin(20));
  EXPECT_TRUE(std::filesystem::exists(server.path() + "/vm.raw"));
  EXPECT_EQ(RunCommand({BinaryPath("chainctl"), "umount", server.path()}).exit_code, 0);
}

// One that only hangs may go on later, with what guests have written.
TEST_F(KilledDaemonTest, OneThatLivesIsLeftAlone) {
  const DeafServer server(WaitForItself);
  ASSERT_TRUE(server.serving());
  const CommandResult result = RunCommand({BinaryPath("chainctl"), "umount", server.path()});
  EXPECT_EQ(result.exit_code, 5) << result.Describe();
  EXPECT_TRUE(IsMounted(server));
  EXPECT_FALSE(server.EndsWithin(1));
}

// While the kernel is told of names that are gone, and others look for more names.
TEST_F(KilledDaemonTest, NobodyIsHeldAfterAKillAmongChangesOfNames) {
  Daemon daemon({dir_.path()});
  Random random;
  for (int round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    std::atomic<bool> stop = false;
    const auto look = [&](const std::string& name) {
      struct stat st = {};
      return ::stat((daemon / name).c_str(), &st) == 0;
    };
    std::thread names([&] {
      while (!stop) {
        WriteTextFile(dir_ / "new.raw", std::string(4096, 'x'));
        while (!stop && !look("new.raw")) {
        }
        std::filesystem::remove(dir_ / "new.raw");
      }
    });
    std::vector<std::thread> lookers;
    for (int i = 0; i < 3; ++i) {
      lookers.emplace_back([&, i] {
        for (int n = 0; !stop; ++n) look("no" + std::to_string(i) + "-" + std::to_string(n));
      });
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random.Between(20, 300)));
    ::kill(daemon.pid(), SIGKILL);
    stop = true;
    // A look-up that no thread had taken yet may still hold it.
    const CommandResult gone = RunCommand({BinaryPath("chainctl"), "umount", daemon.path()});
    EXPECT_TRUE(gone.exit_code == 0 || gone.exit_code == 5) << gone.Describe();
    daemon.WaitForEnd();
    names.join();
    for (std::thread& looker : lookers) looker.join();
    std::filesystem::remove(dir_ / "new.raw");
    daemon.Restart();
  }
}

// While it has the kernel write back what a program has changed in memory.
TEST_F(KilledDaemonTest, ItEndsAfterAKillWhileItTakesInChanges) {
  std::error_code none;
  if (::geteuid() != 0 && std::filesystem::is_empty("/sys/fs/fuse/connections", none)) {
    GTEST_SKIP() << "only root can guard it without fusectl";
  }
  constexpr size_t kSize = 64 << 20;
  Random random;
  for (int round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    const TempDir images;
    CreateQcow2(images / "vm.qcow2", {.size = "64M"});
    Daemon daemon({images.path()});
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    const std::string disk = daemon / "vm.raw";
    const OpenedFile file(disk, O_RDWR);
    void* const mapped = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    ASSERT_NE(mapped, MAP_FAILED) << std::strerror(errno);
    for (size_t at = 0; at < kSize; at += 4096) static_cast<volatile char*>(mapped)[at] = 'x';
    std::thread order([&] { (void)Order(disk, "resize", "size=1M"); });
    std::this_thread::sleep_for(std::chrono::milliseconds(random.Between(1, 60)));
    ::kill(daemon.pid(), SIGKILL);
    const auto ended = [&] { return daemon.pid() == 0 || daemon.Ended(); };
    EXPECT_TRUE(Eventually(ended)) << "it hangs";
    if (!ended()) RunCommand({BinaryPath("chainctl"), "umount", daemon.path()});
    daemon.WaitForEnd();
    order.join();
    ::munmap(mapped, kSize);
  }
}

}  // namespace
}  // namespace chainfs
