// SPDX-License-Identifier: Apache-2.0
//
// A stream, a commit, a mirror and a backup at once, on four disks that share a base, each while
// fio writes to the disk and verifies what it has written: in blocks of several sizes, at once and
// once more when all jobs are over. QEMU then finds sound chains that show what the disks showed,
// the base as it was, and in the backup the disk as it was at the start.
#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

class FourJobsTest : public testing::Test {
 protected:
  using Names = std::vector<std::string>;
  static constexpr uint64_t kSize = uint64_t{48} << 20;

  struct Member {
    std::string name;
    Names layers;  // above the shared base, the active one last
    std::string verb;
    std::string keys;
    Names layers_after;  // active layer first
  };

  void SetUp() override {
    CreateQcow2(dir_ / "shared.qcow2", {.size = std::to_string(kSize)});
    QemuIo(dir_ / "shared.qcow2", "qcow2", RandomWrites(random_, kSize, 60));
    shared_ = ReadTextFile(dir_ / "shared.qcow2");
    for (const Member& member : members_) {
      std::string below = "shared.qcow2";
      for (const std::string& layer : member.layers) {
        CreateQcow2(dir_ / layer, {.backing = below});
        QemuIo(dir_ / layer, "qcow2", RandomWrites(random_, kSize, 30));
        below = layer;
      }
    }
    daemon_ = std::make_unique<Daemon>(Names{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
  }

  std::string DiskOf(const Member& member) const { return *daemon_ / (member.name + ".raw"); }

  // The first part of the disk in blocks of `size`, each verified soon after it was written, and
  // all of them at the end.
  void WriteAndVerify(const Member& member, const std::string& sizes, uint64_t seed) {
    const CommandResult fio = RunCommand(
        {"fio", "--name=" + member.name, "--filename=" + DiskOf(member), "--rw=randwrite",
         "--bssplit=" + sizes, "--blockalign=4k", "--size=12M", "--direct=1", "--ioengine=libaio",
         "--iodepth=4", "--verify=crc32c", "--verify_backlog=64", "--verify_fatal=1",
         "--verify_state_save=0", "--do_verify=1", "--fallocate=none", "--allow_file_create=0",
         "--fsync=200", "--randseed=" + std::to_string(seed)});
    EXPECT_EQ(fio.exit_code, 0) << member.name << ": " << fio.Describe();
  }

  void StartAll() {
    for (const Member& member : members_) {
      ASSERT_EQ(Order(DiskOf(member), member.verb, "id=" + member.verb + ",speed=8M" + member.keys),
                0)
          << LastError(DiskOf(member));
    }
    const std::string point = *daemon_ / "b@backup.raw";
    MustRun({"cp", "--sparse=always", point, outside_ / "point"});
  }

  Random random_;
  const TempDir dir_;
  const TempDir outside_;
  std::string shared_;
  std::unique_ptr<Daemon> daemon_;
  const std::array<Member, 4> members_ = {
      Member{"s", {"s1.qcow2", "s.qcow2"}, "stream", "", {"s.qcow2"}},
      Member{"c",
             {"c1.qcow2", "c2.qcow2", "c.qcow2"},
             "commit",
             ",base=c1.qcow2",
             {"c1.qcow2", "shared.qcow2"}},
      Member{"m",
             {"m.qcow2"},
             "mirror",
             ",target=n.qcow2,then=pivot,copy-mode=write-blocking",
             {"n.qcow2"}},
      Member{"b",
             {"b1.qcow2", "b.qcow2"},
             "backup",
             ",target=t.qcow2",
             {"b.qcow2", "b1.qcow2", "shared.qcow2"}}};
};

TEST_F(FourJobsTest, AtOnceUnderFio) {
  std::atomic<bool> over = false;
  std::vector<std::thread> guests;
  for (size_t i = 0; i < members_.size(); ++i) {
    guests.emplace_back([&, i, own = random_.Fork()]() mutable {
      constexpr std::array kSizes = {"4k/100", "4k/60:16k/30:128k/10", "512/20:4k/40:64k/40"};
      for (size_t run = 0; !HasFailure() && (!over || run < kSizes.size()); ++run) {
        WriteAndVerify(members_[i], kSizes[(i + run) % kSizes.size()], own.Below(1 << 30));
      }
    });
  }
  // Somebody writes to each of them when the jobs begin.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  StartAll();
  for (const Member& member : members_) {
    const Json job = WaitForJob(DiskOf(member), member.verb);
    EXPECT_FALSE(job.contains("error")) << job.dump();
  }
  over = true;
  for (std::thread& guest : guests) guest.join();
  ASSERT_FALSE(HasFailure()) << daemon_->Log();
  for (const Member& member : members_) {
    EXPECT_EQ(LayersOf(DiskOf(member)), member.layers_after);
    MustRun({"cp", "--sparse=always", DiskOf(member), outside_ / member.name});
  }
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  EXPECT_EQ(ReadTextFile(dir_ / "shared.qcow2"), shared_);
  for (const Member& member : members_) {
    for (const std::string& layer : member.layers_after) EXPECT_EQ(CheckImage(dir_ / layer), 0);
    MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", dir_ / member.layers_after.front(),
             outside_ / member.name});
  }
  EXPECT_EQ(CheckImage(dir_ / "t.qcow2"), 0);
  MustRun(
      {"qemu-img", "compare", "-f", "qcow2", "-F", "raw", dir_ / "t.qcow2", outside_ / "point"});
}

}  // namespace
}  // namespace chainfs
