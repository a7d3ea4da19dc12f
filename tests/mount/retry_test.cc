// SPDX-License-Identifier: Apache-2.0
//
// What could not be opened for a reason that has passed appears by itself, though no file tells of
// it; and until then the daemon does not keep itself busy.
#include <sys/resource.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/mount/control.h"
#include "tests/mount/images.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

std::vector<int> DescriptorsOf(pid_t pid) {
  std::vector<int> numbers;
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    numbers.push_back(std::stoi(entry.path().filename()));
  }
  return numbers;
}

bool HasOpen(pid_t pid, const std::string& file) {
  for (const int number : DescriptorsOf(pid)) {
    std::error_code error;
    const fs::path link = "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(number);
    if (fs::read_symlink(link, error) == file) return true;
  }
  return false;
}

// Of CPU, in all.
uint64_t TicksOf(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::istringstream words(text.substr(text.rfind(')') + 2));
  std::string word;
  for (int i = 3; i < 14; ++i) words >> word;
  uint64_t user = 0;
  uint64_t system = 0;
  words >> user >> system;
  return user + system;
}

TEST(RetryTest, AfterTooManyOpenFilesItGoesOnByItself) {
  TempDir images;
  MustRun({"qemu-img", "create", "-q", "-f", "qcow2", images / "vm0.qcow2", "1M"});
  Daemon daemon({images.path()});
  ASSERT_TRUE(daemon.serving());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  rlimit before = {};
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  const std::vector<int> open = DescriptorsOf(daemon.pid());
  rlimit few = before;
  few.rlim_cur = 0;
  while (std::ranges::find(open, static_cast<int>(few.rlim_cur)) != open.end()) ++few.rlim_cur;
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  MustRun({"qemu-img", "create", "-q", "-f", "qcow2", images / "vm1.qcow2", "1M"});
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const uint64_t ticks = TicksOf(daemon.pid());
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_LT(TicksOf(daemon.pid()) - ticks, 30u);
  EXPECT_FALSE(HasOpen(daemon.pid(), images / "vm1.qcow2"));
  ASSERT_EQ(::prlimit(daemon.pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  bool opened = false;
  for (int i = 0; i < 200 && !opened; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    opened = HasOpen(daemon.pid(), images / "vm1.qcow2");
  }
  EXPECT_TRUE(opened);
}

}  // namespace
}  // namespace chainfs
