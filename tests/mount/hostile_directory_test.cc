// SPDX-License-Identifier: Apache-2.0
//
// A directory full of images that lie. The daemon keeps within its memory, and whoever uses the
// healthy disk beside them does not notice: lists, reads and snapshots go on, while the hostile
// disks are read, sought, mapped, written and zeroed.
//
// CHAINFS_HOSTILE_IMAGES says how many (default 60; the goal is 500 images within 256 MiB and 1 s,
// which a loaded machine need not reach: the figures are printed, and what is asserted has room).
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "tests/mount/control.h"
#include "tests/support/hostile_images.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

uint64_t HowMany() {
  const char* const wanted = std::getenv("CHAINFS_HOSTILE_IMAGES");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 60;
}

uint64_t PeakMib(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) >> 10;
  }
  return 0;
}

// Whatever it returned.
void Any(ssize_t) {}

// How long each kind of thing took at most.
class Longest {
 public:
  template <typename Body>
  void Measure(const std::string& what, const Body& body) {
    const auto start = steady_clock::now();
    body();
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - start).count();
    longest_[what] = std::max<int64_t>(longest_[what], took);
  }
  const std::map<std::string, int64_t>& milliseconds() const { return longest_; }

 private:
  std::map<std::string, int64_t> longest_;
};

class HostileDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "base.qcow2", {.size = "8M"});
    QemuIo(dir_ / "base.qcow2", "qcow2", {"write -P 7 0 4M"});
    CreateQcow2(healthy_ / "ok.qcow2", {.size = "8M"});
    QemuIo(healthy_ / "ok.qcow2", "qcow2", {"write -P 9 0 4M"});
    std::map<std::string, int> kinds;
    for (uint64_t i = 0; i < HowMany(); ++i) {
      ++kinds[WriteAnyHostileImage(dir_.path(), "evil" + std::to_string(i) + ".qcow2", random_)];
    }
    for (const auto& [kind, count] : kinds) std::cout << count << " of: " << kind << "\n";
  }

  void List() const {
    DIR* const directory = ::opendir(daemon_->path().c_str());
    ASSERT_NE(directory, nullptr);
    while (::readdir(directory) != nullptr) {
    }
    ::closedir(directory);
  }
  void ReadHealthy() const {
    const OpenedFile file(*daemon_ / "ok.raw", O_RDONLY | O_DIRECT);
    ASSERT_TRUE(file.valid());
    alignas(4096) char bytes[4096];
    ASSERT_EQ(::pread(file.get(), bytes, sizeof bytes, 4096), 4096);
    ASSERT_EQ(bytes[0], 9);
  }
  // Until `end`: what somebody does who has only the healthy disk.
  void UseHealthy(const std::atomic<bool>& end, Longest& longest) const {
    int snapshots = 0;
    while (!end) {
      longest.Measure("ls", [&] { List(); });
      longest.Measure("read", [&] { ReadHealthy(); });
      if (snapshots++ < 40) {
        longest.Measure("snapshot", [&] {
          EXPECT_EQ(Order(*daemon_ / "ok.raw", "snapshot"), 0) << LastError(*daemon_ / "ok.raw");
        });
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  // Anything may fail; nothing may take the daemon with it.
  void UseHostile(const std::string& path, Random& random) const {
    struct stat st = {};
    if (::stat(path.c_str(), &st) != 0) return;
    (void)GetAttribute(path, "user.chainfs.info");
    (void)GetAttribute(path, "user.chainfs.chain");
    const OpenedFile reader(path, O_RDONLY);
    std::vector<char> bytes(1 << 20);
    const auto somewhere = [&] {
      const auto size = static_cast<uint64_t>(st.st_size);
      const uint64_t near = random.OneIn(2) ? size >> random.Below(50) : size;
      return static_cast<off_t>(random.Below(near | 1));
    };
    for (int i = 0; i < 4 && reader.valid(); ++i) {
      Any(::pread(reader.get(), bytes.data(), bytes.size(), somewhere()));
      (void)::lseek(reader.get(), somewhere(), random.OneIn(2) ? SEEK_DATA : SEEK_HOLE);
    }
    const OpenedFile writer(path, O_RDWR);
    for (int i = 0; i < 3 && writer.valid(); ++i) {
      Any(::pwrite(writer.get(), bytes.data(), random.Below(1 << 17) + 1, somewhere()));
      (void)::fallocate(writer.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, somewhere(),
                        1 << 24);
      (void)::fsync(writer.get());
    }
    (void)Order(path, "stream", "speed=1m");
    (void)Order(path, "snapshot");
  }
  void ReadMap(const std::string& name) const {
    const OpenedFile map(*daemon_ / (".chainfs/map/" + name + ".json"), O_RDONLY);
    std::vector<char> bytes(65536);
    for (int i = 0; i < 3 && map.valid(); ++i) Any(::read(map.get(), bytes.data(), bytes.size()));
  }

  Random random_;
  const TempDir dir_;
  const TempDir healthy_;
  std::unique_ptr<Daemon> daemon_;
};

TEST_F(HostileDirectoryTest, TheHealthyDiskIsServedWithinBoundedMemory) {
  Longest longest;
  longest.Measure("mount", [&] {
    daemon_ = std::make_unique<Daemon>(
        std::vector<std::string>{healthy_.path(), dir_.path()},
        std::vector<std::string>{"-o", "metadata_memory=64M,index_memory=64M"});
  });
  ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
  std::atomic<bool> end = false;
  std::thread user([&] { UseHealthy(end, longest); });
  std::set<std::string> used;
  // What is being checked appears later.
  for (int round = 0; round < 3; ++round) {
    for (const auto& entry : fs::directory_iterator(daemon_->path())) {
      const std::string name = entry.path().filename();
      if (!name.starts_with("evil") || !used.insert(name).second) continue;
      UseHostile(entry.path(), random_);
      ReadMap(entry.path().stem());
    }
    // Somebody replaces images meanwhile.
    for (int i = 0; i < 5; ++i) {
      const std::string name = "late" + std::to_string(round * 5 + i);
      WriteAnyHostileImage(dir_.path(), name + ".tmp", random_);
      fs::rename(dir_ / (name + ".tmp"), dir_ / (name + ".qcow2"));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  end = true;
  user.join();
  ASSERT_NE(daemon_->pid(), 0);
  const uint64_t peak = PeakMib(daemon_->pid());
  std::cout << used.size() << " hostile disks used; peak " << peak << " MiB;";
  for (const auto& [what, ms] : longest.milliseconds())
    std::cout << " " << what << " " << ms << " ms;";
  std::cout << "\n";
  EXPECT_GT(peak, 0u) << "the daemon is gone: " << daemon_->Log();
  EXPECT_LT(peak, 256u);
  for (const auto& [what, ms] : longest.milliseconds()) EXPECT_LT(ms, 20'000) << what;
  longest.Measure("stop", [&] { EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log(); });
  std::cout << "stop " << longest.milliseconds().at("stop") << " ms\n";
  EXPECT_EQ(CheckImage(healthy_ / "ok.qcow2"), 0);
}

}  // namespace
}  // namespace chainfs
