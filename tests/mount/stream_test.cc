// SPDX-License-Identifier: Apache-2.0
//
// Streams on a mount in use: a guest writes and verifies while layers are merged, in every form;
// the chain is what was asked for, QEMU finds it sound and equal, and the job and the events told
// of it.
#include <algorithm>
#include <filesystem>

#include "tests/mount/control.h"
#include "tests/mount/stamped_writer.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

using Names = std::vector<std::string>;

// What QEMU says of the chain of an image that nobody has open, active layer first.
Names QemuChain(const std::string& image) {
  Names names;
  const Json chain = Json::parse(
      MustRun({"qemu-img", "info", "-f", "qcow2", "--backing-chain", "--output=json", image}));
  for (const Json& layer : chain) names.push_back(fs::path(layer["filename"]).filename());
  return names;
}

// A.qcow2 <- B <- C <- D <- E.qcow2, 32 MiB; E.raw is the disk.
class StreamTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 32 << 20;
  // fio writes here; what lies behind must stay as it was.
  static constexpr const char* kFioSize = "12M";

  void SetUp() override {
    const TempDir making;
    WriteRandomFile(making / "a.raw", kSize, random_);
    MustRun(
        {"qemu-img", "convert", "-f", "raw", "-O", "qcow2", making / "a.raw", dir_ / "A.qcow2"});
    for (const char name : {'B', 'C', 'D', 'E'}) {
      const std::string image = dir_ / (std::string(1, name) + ".qcow2");
      CreateQcow2(image, {.backing = std::string(1, static_cast<char>(name - 1)) + ".qcow2"});
      QemuIo(image, "qcow2", RandomWrites(random_, kSize, 20));
    }
    Flatten(dir_ / "E.qcow2", "qcow2", outside_ / "before");
    daemon_ = std::make_unique<Daemon>(Names{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    disk_ = *daemon_ / "E.raw";
  }

  // Streams while fio writes and verifies, then looks at everything.
  void StreamUnderFio(const std::string& value, const Names& expected) {
    const std::string seen = outside_ / "seen";
    {
      Events events(*daemon_);
      Command fio({"fio", "--name=guest", "--filename=" + disk_, "--rw=randwrite", "--bs=4k",
                   "--direct=1", "--ioengine=libaio", "--iodepth=4", "--verify=crc32c",
                   "--verify_fatal=1", "--verify_state_save=0", "--do_verify=1", "--fallocate=none",
                   "--allow_file_create=0", "--rate_iops=3000", "--fsync=256",
                   std::string("--size=") + kFioSize});
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      MustRun({"setfattr", "-n", "user.chainfs.stream", "-v",
               value + (value.empty() ? "" : ",") + "id=j,speed=16M", disk_});
      const Json job = WaitForJob(disk_, "j");
      EXPECT_FALSE(job.contains("error")) << job.dump();
      const CommandResult verified = fio.Wait();
      EXPECT_EQ(verified.exit_code, 0) << verified.Describe();
      ExpectTold(events);
    }
    EXPECT_EQ(LayersOf(disk_), expected);
    MustRun({"cp", "--sparse=always", disk_, seen});
    MustRun({"cmp", "-i", kFioSize, seen, outside_ / "before"});
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    EXPECT_EQ(QemuChain(dir_ / "E.qcow2"), expected);
    for (const char* const name : {"A.qcow2", "B.qcow2", "C.qcow2", "D.qcow2", "E.qcow2"}) {
      EXPECT_EQ(CheckImage(dir_ / name), 0) << name;
    }
    Flatten(dir_ / "E.qcow2", "qcow2", outside_ / "after");
    EXPECT_TRUE(SameContents(outside_ / "after", seen));
  }

  // getfattr and the events told progress and end.
  void ExpectTold(Events& events) const {
    const Json told = Json::parse(MustRun(
        {"getfattr", "--only-values", "-n", "user.chainfs.job", "--absolute-names", disk_}));
    EXPECT_EQ(told["status"], "concluded");
    EXPECT_GT(told["total-progress"], 0);
    EXPECT_EQ(told["current-progress"], told["total-progress"]);
    EXPECT_FALSE(events.WaitFor("BLOCK_JOB_COMPLETED", "j").is_null());
    const auto progress = std::ranges::count_if(
        events.seen(), [](const Json& event) { return event["event"] == "JOB_PROGRESS"; });
    EXPECT_GE(progress, 1);
  }

  Random random_;
  const TempDir dir_;
  const TempDir outside_;
  std::unique_ptr<Daemon> daemon_;
  std::string disk_;
};

TEST_F(StreamTest, DownToABase) { StreamUnderFio("base=A.qcow2", {"E.qcow2", "A.qcow2"}); }

TEST_F(StreamTest, IntoAnIntermediateLayer) {
  StreamUnderFio("top=D.qcow2,base=B.qcow2", {"E.qcow2", "D.qcow2", "B.qcow2", "A.qcow2"});
}

TEST_F(StreamTest, WithoutKeysOneLayerRemains) { StreamUnderFio("", {"E.qcow2"}); }

TEST_F(StreamTest, SeveralAtOnceThatShareNothing) {
  ASSERT_EQ(Order(disk_, "stream", "id=upper,top=E.qcow2,base=C.qcow2,speed=8M"), 0)
      << LastError(disk_);
  ASSERT_EQ(Order(disk_, "stream", "id=lower,top=C.qcow2,base=A.qcow2,speed=8M"), 0)
      << LastError(disk_);
  EXPECT_EQ(Order(disk_, "stream", "id=clash,top=D.qcow2"), EBUSY);
  for (const std::string id : {"upper", "lower"}) {
    const Json job = WaitForJob(disk_, id);
    EXPECT_FALSE(job.contains("error")) << job.dump();
  }
  EXPECT_EQ(LayersOf(disk_), (Names{"E.qcow2", "C.qcow2", "A.qcow2"}));
  EXPECT_TRUE(SameContents(disk_, outside_ / "before"));
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  EXPECT_EQ(CheckImage(dir_ / "E.qcow2"), 0);
  EXPECT_EQ(CheckImage(dir_ / "C.qcow2"), 0);
}

TEST_F(StreamTest, AStoppedDaemonGoesOnWhenItStartsAgain) {
  ASSERT_EQ(Order(disk_, "stream", "id=long,speed=2M"), 0) << LastError(disk_);
  EXPECT_TRUE(Eventually([&] { return Status(disk_, "job")["current-progress"] > 0; }));
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  EXPECT_EQ(CheckImage(dir_ / "E.qcow2"), 0);
  Flatten(dir_ / "E.qcow2", "qcow2", outside_ / "between");
  EXPECT_TRUE(SameContents(outside_ / "between", outside_ / "before"));
  ASSERT_TRUE(daemon_->Restart());
  EXPECT_EQ(Status(disk_, "job.long")["speed"], 2 << 20);
  ASSERT_EQ(Order(disk_, "speed", "id=long,limit=0"), 0) << LastError(disk_);
  const Json job = WaitForJob(disk_, "long");
  EXPECT_FALSE(job.contains("error")) << job.dump();
  EXPECT_EQ(LayersOf(disk_), Names{"E.qcow2"});
  EXPECT_TRUE(SameContents(disk_, outside_ / "before"));
  EXPECT_EQ(daemon_->Stop().exit_code, 0);
  ASSERT_TRUE(daemon_->Restart());
  EXPECT_TRUE(Status(disk_, "job").is_null());  // nothing is taken up twice
}

// What a guest has read is recorded, and a stream copies that first; also after kill -9.
TEST_F(StreamTest, WhatWasRecordedIsCopiedFirst) {
  const std::string trace = dir_ / "E.trace";
  MustRun({BinaryPath("chainctl"), "trace", disk_, "--file", trace});
  EXPECT_EQ(Status(disk_, "info")["trace"], trace);
  for (const char* const at : {"skip=400", "skip=16"}) {
    MustRun({"dd", "if=" + disk_, "of=" + outside_ / "read", "iflag=direct", "bs=64k", "count=2",
             "status=none", at});
  }
  MustRun({BinaryPath("chainctl"), "trace", disk_, "--stop"});
  EXPECT_FALSE(Status(disk_, "info").contains("trace"));
  EXPECT_EQ(ReadTextFile(trace),
            "chainfs-trace 1\n"
            "# what was read of E (offset and length in bytes)\n"
            "26214400 131072\n"
            "1048576 131072\n");
  ASSERT_EQ(Order(disk_, "stream", "id=j,speed=1,trace=" + trace), 0) << LastError(disk_);
  EXPECT_TRUE(Eventually([&] { return Status(disk_, "job")["read-first"] > 0; }));
  daemon_->KillHard();
  ASSERT_TRUE(daemon_->Restart());
  ASSERT_EQ(Order(disk_, "speed", "id=j,limit=0"), 0) << LastError(disk_);
  const Json job = WaitForJob(disk_, "j");
  EXPECT_FALSE(job.contains("error")) << job.dump();
  EXPECT_GE(job["read-first"], 2 * 131072);
  EXPECT_EQ(LayersOf(disk_), Names{"E.qcow2"});
  EXPECT_TRUE(SameContents(disk_, outside_ / "before"));
}

TEST(SnapshotTest, TheNameGoesOnUnderAWriter) {
  Random random;
  const TempDir dir;
  const TempDir outside;
  SectorModel model(1, 16384);
  MakeStampedChain(dir.path(), {"base.qcow2", "vm.qcow2"}, model, random);
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string disk = daemon / "vm.raw";
  Names layers = {"vm.qcow2", "base.qcow2"};
  {
    StampedWriter direct(disk, model, random.Fork());
    StampedWriter another(disk, model, random.Fork());
    for (int i = 1; i <= 3; ++i) {
      direct.WaitForMore(200);
      ASSERT_EQ(Order(disk, "snapshot"), 0) << LastError(disk);
      const Names now = LayersOf(disk);
      ASSERT_EQ(now.size(), layers.size() + 1);
      EXPECT_EQ(Names(now.begin() + 1, now.end()), layers);
      layers = now;
    }
    direct.WaitForMore(200);
    StreamToEnd(disk, "base=vm.qcow2");
    direct.WaitForMore(100);
    EXPECT_EQ(direct.Stop(), 0);
    EXPECT_EQ(another.Stop(), 0);
  }
  EXPECT_EQ(LayersOf(disk), (Names{layers[0], "vm.qcow2", "base.qcow2"}));
  MustRun({"cp", disk, outside / "seen"});
  ExpectAllowed(outside / "seen", model);
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  EXPECT_EQ(CheckImage(dir / layers[0]), 0);
  Flatten(dir / layers[0], "qcow2", outside / "after");
  EXPECT_TRUE(SameContents(outside / "after", outside / "seen"));
  // The next daemon finds the new active layer beneath the old name.
  ASSERT_TRUE(daemon.Restart());
  EXPECT_EQ(LayersOf(disk), (Names{layers[0], "vm.qcow2", "base.qcow2"}));
  EXPECT_TRUE(SameContents(disk, outside / "seen"));
  const OpenedFile file(disk, O_RDWR);
  EXPECT_TRUE(file.valid());
}

// Live block copy: the image in the other directory alone is the disk.
TEST(SnapshotTest, WithAStreamItMovesADiskElsewhere) {
  Random random;
  const TempDir dir;
  const TempDir other;
  const TempDir outside;
  SectorModel model(1, 16384);
  MakeStampedChain(dir.path(), {"base.qcow2", "mid.qcow2", "vm.qcow2"}, model, random);
  Daemon daemon({dir.path()}, {"-o", "target_dir=" + other.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string disk = daemon / "vm.raw";
  {
    StampedWriter guest(disk, model, random.Fork());
    guest.WaitForMore(100);
    ASSERT_EQ(Order(disk, "snapshot", "target=" + other / "moved.qcow2"), 0) << LastError(disk);
    guest.WaitForMore(100);
    ASSERT_EQ(Order(disk, "stream", "speed=8M"), 0) << LastError(disk);
    const Json job = WaitForJob(disk);
    EXPECT_FALSE(job.contains("error")) << job.dump();
    guest.WaitForMore(100);
    EXPECT_EQ(guest.Stop(), 0);
  }
  EXPECT_EQ(LayersOf(disk), Names{"moved.qcow2"});
  MustRun({"cp", disk, outside / "seen"});
  ExpectAllowed(outside / "seen", model);
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  fs::rename(other / "moved.qcow2", outside / "alone.qcow2");
  EXPECT_EQ(CheckImage(outside / "alone.qcow2"), 0);
  EXPECT_EQ(QemuChain(outside / "alone.qcow2"), Names{"alone.qcow2"});
  Flatten(outside / "alone.qcow2", "qcow2", outside / "after");
  EXPECT_TRUE(SameContents(outside / "after", outside / "seen"));
}

}  // namespace
}  // namespace chainfs
