// SPDX-License-Identifier: Apache-2.0
//
// SIGKILL of the daemon at random moments of guest writes and streams, and right after a stream has
// completed: plain QEMU opens the chain, finds at most leaks, every sector holds its last flushed
// value or a later one, and the next daemon finishes the stream by itself.
//
// $CHAINFS_KILLS is how often while a stream runs (6; 200 in the long campaign, which also kills at
// random moments up to 5 s after the end of a stream).
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "tests/mount/control.h"
#include "tests/mount/stamped_writer.h"

namespace chainfs {
namespace {

int WantedKills() {
  const char* const wanted = std::getenv("CHAINFS_KILLS");
  return wanted != nullptr ? std::atoi(wanted) : 6;
}

class KillTest : public testing::Test {
 protected:
  static constexpr uint64_t kSectors = 16384;  // 8 MiB

  void SetUp() override {
    MakeStampedChain(dir_.path(), {"base.qcow2", "mid.qcow2", "vm.qcow2"}, model_, random_);
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    disk_ = *daemon_ / "vm.raw";
  }

  // Asks nobody but QEMU, and takes what it finds as the truth from now on.
  void ExpectSound(const std::string& active) {
    for (const std::string& name : ImagesThere()) {
      const int check = CheckImage(dir_ / name, /*leaks_expected=*/true);
      EXPECT_TRUE(check == 0 || check == 3) << name << ": exit code " << check;
    }
    Flatten(active, "qcow2", outside_ / "flat");
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
  std::string Active() const { return Status(disk_, "info").value("active", ""); }

  // Kills under guests and perhaps a stream; true when a stream was under way.
  bool KillOnce(const std::string& stream, std::chrono::milliseconds after) {
    const std::string active = Active();
    StampedWriter first(disk_, model_, random_.Fork());
    StampedWriter second(disk_, model_, random_.Fork());
    first.WaitForMore(30);
    EXPECT_EQ(Order(disk_, "stream", stream), 0) << LastError(disk_);
    std::this_thread::sleep_for(after);
    const bool running = Status(disk_, "job.j").value("status", "") != "concluded";
    daemon_->KillHard();
    EXPECT_NE(first.WaitForFailure(), 0);
    EXPECT_NE(second.WaitForFailure(), 0);
    ExpectSound(active);
    return running;
  }

  // Deeper again, with something in each layer; what has been merged away goes.
  void AddLayers() {
    const std::vector<std::string> layers = LayersOf(disk_);
    for (const std::string& name : ImagesThere()) {
      if (std::ranges::find(layers, name) == layers.end()) {
        std::filesystem::remove(dir_ / name);
      }
    }
    for (int i = 0; i < 2; ++i) {
      StampedWriter guest(disk_, model_, random_.Fork());
      guest.WaitForMore(200);
      EXPECT_EQ(guest.Stop(), 0);
      // Small clusters: the guest's writes must not leave the stream without work.
      ASSERT_EQ(Order(disk_, "snapshot", "cluster_size=4k"), 0) << LastError(disk_);
    }
  }

  Random random_;
  const TempDir dir_;
  const TempDir outside_;
  SectorModel model_{1, kSectors};
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
};

TEST_F(KillTest, AtRandomMomentsOfStreamsUnderWrites) {
  const int kills = WantedKills();
  int during = 0;
  int all = 0;
  for (; during < kills && all < 10 * kills; ++all) {
    SCOPED_TRACE("kill " + std::to_string(all));
    const std::vector<std::string> layers = LayersOf(disk_);
    std::string stream = "id=j,speed=" + std::to_string(1 + random_.Below(4)) + "M";
    if (random_.OneIn(3) && layers.size() > 2) stream += ",base=" + layers.back();
    if (KillOnce(stream, std::chrono::milliseconds(random_.Below(800)))) ++during;
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
    if (!Status(disk_, "job.j").is_null()) {
      // Taken up again by itself; a limit is kept, and may be lifted.
      (void)Order(disk_, "speed", "id=j,limit=0");
      const Json job = WaitForJob(disk_, "j");
      ASSERT_FALSE(job.contains("error")) << job.dump();
      EXPECT_EQ(Order(disk_, "dismiss", "id=j"), 0) << LastError(disk_);
    }
    const bool to_base = stream.find("base=") != std::string::npos;
    EXPECT_EQ(LayersOf(disk_).size(), to_base ? 2u : 1u) << daemon_->Log();
    AddLayers();
    ASSERT_FALSE(HasFailure());
  }
  EXPECT_EQ(during, kills) << "the streams end too early";
  std::cout << all << " kills, " << during << " of them while the stream was running\n";
  const std::string active = Active();
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  ExpectSound(active);
}

TEST_F(KillTest, SoonAfterAStreamHasCompleted) {
  std::vector<uint64_t> delays = {0, 200, 1000};  // ms
  for (int more = WantedKills() / 10; more > 0; --more) delays.push_back(random_.Below(5000));
  for (const uint64_t milliseconds : delays) {
    SCOPED_TRACE(milliseconds);
    const std::string active = Active();
    Events events(*daemon_);
    StampedWriter guest(disk_, model_, random_.Fork());
    guest.WaitForMore(50);
    ASSERT_EQ(Order(disk_, "stream", "id=j"), 0) << LastError(disk_);
    ASSERT_FALSE(events.WaitFor("BLOCK_JOB_COMPLETED", "j").is_null());
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    daemon_->KillHard();
    EXPECT_NE(guest.WaitForFailure(), 0);
    // What completed is so for plain QEMU: one layer that stands alone.
    const Json info =
        Json::parse(MustRun({"qemu-img", "info", "-f", "qcow2", "--output=json", active}));
    EXPECT_FALSE(info.contains("backing-filename")) << info.dump();
    ExpectSound(active);
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
    EXPECT_EQ(LayersOf(disk_).size(), 1u);
    EXPECT_TRUE(Status(disk_, "job.j").is_null());
    AddLayers();
  }
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
}

// A buffered writer without jobs: what it has fsynced is there.
TEST_F(KillTest, UnderABufferedWriter) {
  for (int i = 0; i < 3; ++i) {
    const std::string active = Active();
    StampedWriter guest(disk_, model_, random_.Fork(), 0);
    guest.WaitForMore(100 + random_.Below(400));
    daemon_->KillHard();
    EXPECT_NE(guest.WaitForFailure(), 0);
    ExpectSound(active);
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(daemon_->Restart()) << daemon_->Log();
  }
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
}

}  // namespace
}  // namespace chainfs
