// SPDX-License-Identifier: Apache-2.0
//
// Mirrors on a real mount under guests that write: to images of both formats, the disk moving to
// each in turn; and SIGKILL of the daemon at random moments of them: plain QEMU opens the image
// that the record names, every sector holds its last flushed value or a later one, and the next
// daemon finishes the mirror by itself.
//
// $CHAINFS_KILLS is how often while a mirror runs (6; 50 and more in the long campaign).
#include <filesystem>
#include <iostream>

#include "tests/mount/control.h"
#include "tests/mount/stamped_writer.h"

namespace chainfs {
namespace {

class MirrorKillTest : public testing::Test {
 protected:
  static constexpr uint64_t kSectors = 16384;  // 8 MiB

  void SetUp() override {
    MakeStampedChain(dir_.path(), {"base.qcow2", "vm.qcow2"}, model_, random_);
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
  static std::string FormatOfImage(const std::string& path) {
    return path.ends_with(".qcow2") ? "qcow2" : "raw";
  }

  // Asks nobody but QEMU, and takes what it finds as the truth from now on.
  void ExpectSound() {
    const std::string active = Active();
    if (FormatOfImage(active) == "qcow2") {
      const int check = CheckImage(active, /*leaks_expected=*/true);
      EXPECT_TRUE(check == 0 || check == 3) << active << ": exit code " << check;
    }
    Flatten(active, FormatOfImage(active), outside_ / "flat");
    const std::string bytes = ReadTextFile(outside_ / "flat");
    ASSERT_EQ(bytes.size(), kSectors * kStampSize);
    ASSERT_EQ(model_.CheckCrash(UINT64_MAX, 0, std::as_bytes(std::span(bytes))), "");
    model_.AcceptAsDurable(0, std::as_bytes(std::span(bytes)));
  }

  // To an image that is not there yet.
  std::string NextMirror() {
    target_ = "copy" + std::to_string(++copies_) + (random_.OneIn(3) ? ".raw" : ".qcow2");
    std::string keys = "id=j,then=pivot,target=" + target_;
    if (random_.OneIn(2)) keys += ",copy-mode=write-blocking";
    return keys;
  }

  Random random_;
  const TempDir dir_;
  const TempDir outside_;
  SectorModel model_{1, kSectors};
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
  std::string target_;
  int copies_ = 0;
};

TEST_F(MirrorKillTest, UnderWrites) {
  for (int round = 0; round < 5; ++round) {
    const std::string keys = NextMirror();
    SCOPED_TRACE(keys);
    {
      StampedWriter first(disk_, model_, random_.Fork());
      StampedWriter second(disk_, model_, random_.Fork());
      first.WaitForMore(20);
      ASSERT_EQ(Order(disk_, "mirror", keys), 0) << LastError(disk_);
      if (round % 2 == 1) {
        // Under such writers a background copy may take its time.
        (void)Order(disk_, "change", "id=j,copy-mode=write-blocking");
      }
      const Json job = WaitForJob(disk_, "j");
      ASSERT_FALSE(job.contains("error")) << job.dump();
      first.WaitForMore(20);
      second.WaitForMore(20);
      EXPECT_EQ(first.Stop(), 0);
      EXPECT_EQ(second.Stop(), 0);
    }
    EXPECT_EQ(LayersOf(disk_), std::vector<std::string>{target_}) << daemon_->Log();
    EXPECT_EQ(Order(disk_, "dismiss", "id=j"), 0) << LastError(disk_);
    ASSERT_FALSE(HasFailure()) << daemon_->Log();
  }
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  ExpectSound();
}

TEST_F(MirrorKillTest, AtRandomMomentsUnderWrites) {
  const char* const wanted = std::getenv("CHAINFS_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 6;
  int during = 0;
  int all = 0;
  for (; during < kills && all < 10 * kills; ++all) {
    const std::string keys = NextMirror();
    SCOPED_TRACE("kill " + std::to_string(all) + ": " + keys);
    {
      StampedWriter first(disk_, model_, random_.Fork());
      StampedWriter second(disk_, model_, random_.Fork());
      first.WaitForMore(20);
      const std::string speed = ",speed=" + std::to_string(4 + random_.Below(12)) + "M";
      ASSERT_EQ(Order(disk_, "mirror", keys + speed), 0) << LastError(disk_);
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.Below(1200)));
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
    EXPECT_EQ(LayersOf(disk_), std::vector<std::string>{target_}) << daemon_->Log();
  }
  std::cout << all << " kills, " << during << " of them while the mirror was running\n";
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  ExpectSound();
}

}  // namespace
}  // namespace chainfs
