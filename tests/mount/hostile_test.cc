// SPDX-License-Identifier: Apache-2.0
//
// Those who ask for too much, or for what leads back to the mount itself: the daemon stays small,
// and the other disks are served.
#include <sys/mount.h>
#include <sys/resource.h>

#include <deque>
#include <filesystem>
#include <fstream>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class HostileTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "base.qcow2", {.size = "8M"});
    QemuIo(dir_ / "base.qcow2", "qcow2", {"write -P 7 0 4M"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "base.qcow2"});
    Flatten(dir_ / "vm.qcow2", "qcow2", flat_ / "vm");
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
  }
  void TearDown() override {
    ::umount2((dir_ / "inside").c_str(), MNT_DETACH);
    EXPECT_TRUE(SameContents(vm_, flat_ / "vm"));
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  }

  uint64_t ResidentMib() const {
    std::ifstream status("/proc/" + std::to_string(daemon_->pid()) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("VmRSS:")) return std::strtoull(line.c_str() + 6, nullptr, 10) >> 10;
    }
    ADD_FAILURE() << "no VmRSS";
    return 0;
  }

  const TempDir dir_;
  const TempDir flat_;
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
};

TEST_F(HostileTest, C10ABackingFileOnTheMountItself) {
  fs::create_directory(dir_ / "inside");
  ASSERT_EQ(::mount(daemon_->path().c_str(), (dir_ / "inside").c_str(), "", MS_BIND, nullptr), 0);
  fs::create_symlink(vm_, dir_ / "link.raw");
  for (const std::string backing : {"inside/vm.raw", "link.raw"}) {
    const std::string name = backing.substr(0, backing.find_first_of("/."));
    MustRun({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", "raw",
             dir_ / (name + ".qcow2"), "8M"});
    // A scan may meet it while qemu-img has it locked yet.
    std::string error;
    EXPECT_TRUE(Eventually([&] {
      const Json chains = ReadJson(*daemon_ / ".chainfs/chains.json");
      for (const Json& broken : chains["broken"]) {
        if (broken["path"] == dir_ / (name + ".qcow2")) error = broken["error"];
      }
      return error.find("onto another mount") != std::string::npos;
    })) << backing
        << ": " << error;
  }
  // Not by its name either: the host's space is asked for, and nothing waits for itself.
  ASSERT_EQ(::mount(daemon_->path().c_str(), dir_.path().c_str(), "", MS_BIND, nullptr), 0);
  struct statfs host = {};
  EXPECT_EQ(::statfs(daemon_->path().c_str(), &host), 0);
  EXPECT_EQ(::umount2(dir_.path().c_str(), MNT_DETACH), 0);
}

TEST_F(HostileTest, X5TenThousandStarts) {
  ASSERT_EQ(Order(vm_, "stream", "id=first,speed=64k"), 0) << LastError(vm_);
  // Or it ends meanwhile on a slow machine.
  ASSERT_EQ(Order(vm_, "pause", "id=first"), 0) << LastError(vm_);
  const uint64_t before = ResidentMib();
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_EQ(Order(vm_, "stream", "id=n" + std::to_string(i)), EBUSY) << i;
  }
  EXPECT_LT(ResidentMib(), before + 16);
  EXPECT_EQ(Status(vm_, "jobs").size(), 1u);
  EXPECT_EQ(Order(vm_, "cancel", "id=first"), 0) << LastError(vm_);
  WaitForJob(vm_, "first");
}

TEST_F(HostileTest, X10StormsOfNamesAndOpenFiles) {
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const rlimit most = {.rlim_cur = old.rlim_max, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &most), 0);
  const rlim_t open_files = std::min<rlim_t>(20'000, old.rlim_max - 1000);
  const uint64_t before = ResidentMib();
  for (int i = 0; i < 100'000; ++i) {
    struct stat st = {};
    const std::string name = *daemon_ / ("no-such-disk-" + std::to_string(i) + ".raw");
    ASSERT_EQ(::stat(name.c_str(), &st), -1);
  }
  EXPECT_LT(ResidentMib(), before + 16);
  {
    std::deque<OpenedFile> files;
    for (rlim_t i = 0; i < open_files; ++i) {
      files.emplace_back(vm_, i % 2 == 0 ? O_RDONLY : O_RDWR);
      ASSERT_TRUE(files.back().valid()) << i << ": " << std::strerror(errno);
    }
    char byte = 0;
    EXPECT_EQ(::pread(files.back().get(), &byte, 1, 0), 1);
    EXPECT_EQ(byte, 7);
    EXPECT_LT(ResidentMib(), before + 32);
  }
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
}

}  // namespace
}  // namespace chainfs
