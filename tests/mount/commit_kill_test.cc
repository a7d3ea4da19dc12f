// SPDX-License-Identifier: Apache-2.0
//
// Commits on a real mount under guests that write: into a layer in the middle and of the active
// layer; and SIGKILL of the daemon at random moments of them: plain QEMU opens the chain that the
// record names, finds at most leaks, every sector holds its last flushed value or a later one, and
// the next daemon finishes the commit by itself.
//
// $CHAINFS_KILLS is how often while a commit runs (6; 50 and more in the long campaign).
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "tests/mount/control.h"
#include "tests/mount/stamped_writer.h"

namespace chainfs {
namespace {

class CommitKillTest : public testing::Test {
 protected:
  static constexpr uint64_t kSectors = 16384;  // 8 MiB

  void SetUp() override {
    MakeStampedChain(dir_.path(), {"base.qcow2", "mid.qcow2", "vm.qcow2"}, model_, random_);
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    disk_ = *daemon_ / "vm.raw";
  }

  // By the record, as the next daemon finds it.
  std::string Active() const {
    const std::string record = dir_ / ".chainfs/chain-vm";
    if (!std::filesystem::exists(record)) return dir_ / "vm.qcow2";
    return dir_ / Json::parse(ReadTextFile(record)).value("active", "");
  }

  // Asks nobody but QEMU, and takes what it finds as the truth from now on.
  void ExpectSound() {
    for (const std::string& name : ImagesThere()) {
      const int check = CheckImage(dir_ / name, /*leaks_expected=*/true);
      EXPECT_TRUE(check == 0 || check == 3) << name << ": exit code " << check;
    }
    Flatten(Active(), "qcow2", outside_ / "flat");
    const std::string bytes = ReadTextFile(outside_ / "flat");
    ASSERT_EQ(bytes.size(), kSectors * kStampSize);
    ASSERT_EQ(model_.CheckCrash(UINT64_MAX, 0, std::as_bytes(std::span(bytes))), "");
    model_.AcceptAsDurable(0, std::as_bytes(std::span(bytes)));
  }

  std::vector<std::string> ImagesThere() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      if (entry.path().extension() == ".qcow2") names.push_back(entry.path().filename());
    }
    return names;
  }

  // Deeper again, with something in each layer; what has been merged away goes.
  void AddLayers() {
    const std::vector<std::string> layers = LayersOf(disk_);
    for (const std::string& name : ImagesThere()) {
      if (std::ranges::find(layers, name) == layers.end()) std::filesystem::remove(dir_ / name);
    }
    while (LayersOf(disk_).size() < 4) {
      StampedWriter guest(disk_, model_, random_.Fork());
      guest.WaitForMore(150);
      EXPECT_EQ(guest.Stop(), 0);
      ASSERT_EQ(Order(disk_, "snapshot", "cluster_size=4k"), 0) << LastError(disk_);
    }
  }

  // Of the active layer, or of what lies below it.
  std::string RandomCommit() {
    const std::vector<std::string> layers = LayersOf(disk_);
    const bool active = random_.OneIn(2);
    const size_t base = (active ? 1 : 2) + random_.Below(layers.size() - (active ? 1 : 2));
    std::string keys = "id=j,base=" + layers[base];
    if (!active) keys += ",top=" + layers[1];
    constexpr const char* kMore[] = {"", ",delete=yes", ",delete=empty"};
    keys += kMore[random_.Below(3)];
    if (!active && random_.OneIn(3)) keys += ",reclaim=yes";
    return keys;
  }
  static size_t LayersAfter(const std::string& keys, const std::vector<std::string>& layers) {
    const std::string base = keys.substr(keys.find("base=") + 5);
    const std::string name = base.substr(0, base.find(','));
    const auto at = std::ranges::find(layers, name) - layers.begin();
    const size_t below = layers.size() - static_cast<size_t>(at);
    return below + (keys.find("top=") == std::string::npos ? 0 : 1);
  }

  Random random_;
  const TempDir dir_;
  const TempDir outside_;
  SectorModel model_{1, kSectors};
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
};

TEST_F(CommitKillTest, UnderWrites) {
  for (int round = 0; round < 6; ++round) {
    AddLayers();
    const std::string keys = RandomCommit();
    SCOPED_TRACE(keys);
    const std::vector<std::string> before = LayersOf(disk_);
    {
      StampedWriter first(disk_, model_, random_.Fork());
      StampedWriter second(disk_, model_, random_.Fork());
      first.WaitForMore(20);
      ASSERT_EQ(Order(disk_, "commit", keys), 0) << LastError(disk_);
      const Json job = WaitForJob(disk_, "j");
      ASSERT_FALSE(job.contains("error")) << job.dump();
      first.WaitForMore(20);
      second.WaitForMore(20);
      EXPECT_EQ(first.Stop(), 0);
      EXPECT_EQ(second.Stop(), 0);
    }
    EXPECT_EQ(LayersOf(disk_).size(), LayersAfter(keys, before)) << daemon_->Log();
    EXPECT_EQ(Order(disk_, "dismiss", "id=j"), 0) << LastError(disk_);
    ASSERT_FALSE(HasFailure()) << daemon_->Log();
  }
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  ExpectSound();
}

TEST_F(CommitKillTest, AtRandomMomentsUnderWrites) {
  const char* const wanted = std::getenv("CHAINFS_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 6;
  int during = 0;
  int all = 0;
  for (; during < kills && all < 10 * kills; ++all) {
    SCOPED_TRACE("kill " + std::to_string(all));
    AddLayers();
    ASSERT_FALSE(HasFailure());
    const std::string keys = RandomCommit();
    SCOPED_TRACE(keys);
    const std::vector<std::string> before = LayersOf(disk_);
    {
      StampedWriter first(disk_, model_, random_.Fork());
      StampedWriter second(disk_, model_, random_.Fork());
      first.WaitForMore(20);
      const std::string speed = ",speed=" + std::to_string(1 + random_.Below(4)) + "M";
      ASSERT_EQ(Order(disk_, "commit", keys + speed), 0) << LastError(disk_);
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(500)));
      if (Status(disk_, "job.j").value("status", "") != "concluded") ++during;
      daemon_->KillHard();
      EXPECT_NE(first.WaitForFailure(), 0);
      EXPECT_NE(second.WaitForFailure(), 0);
    }
    ExpectSound();
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
    if (!Status(disk_, "job.j").is_null()) {
      // Taken up again by itself; a limit is kept, and may be lifted.
      (void)Order(disk_, "speed", "id=j,limit=0");
      const Json job = WaitForJob(disk_, "j");
      ASSERT_FALSE(job.contains("error")) << job.dump();
      EXPECT_EQ(Order(disk_, "dismiss", "id=j"), 0) << LastError(disk_);
    }
    EXPECT_EQ(LayersOf(disk_).size(), LayersAfter(keys, before)) << daemon_->Log();
  }
  std::cout << all << " kills, " << during << " of them while the commit was running\n";
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  ExpectSound();
}

}  // namespace
}  // namespace chainfs
