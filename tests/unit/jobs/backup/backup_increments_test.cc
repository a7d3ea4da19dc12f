// SPDX-License-Identifier: Apache-2.0
//
// Increments: a full backup, then what has changed since the layer that it was taken of froze,
// again and again; put onto each other they are the disk at each of these moments, also when one of
// them failed in between and was taken again.
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

class BackupIncrementsTest : public StreamFixture {
 protected:
  void SetUp() override {
    Create("vm.qcow2", 8 * kMiB);
    Io("vm.qcow2", {"write -P 1 0 3M", "write -P 2 6M 512"});
    OpenAll();
  }
  Result<std::string> Start(const Items& items) {
    verbs::Arguments arguments;
    for (const auto& [key, value] : items) arguments.Set(key, value);
    return jobs_->Start(
        {.type = "backup", .disk = Disk("vm"), .arguments = arguments, .privileged = true});
  }
  JobInfo Backup(const Items& items) {
    const Result<std::string> id = Start(items);
    EXPECT_TRUE(id) << id.error().message;
    return id ? WaitEnd("vm", *id) : JobInfo{};
  }
  void GoodBackup(const Items& items) {
    const JobInfo info = Backup(items);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
  }
  void Write(uint64_t offset, uint64_t length, int value) {
    const std::vector<std::byte> data(length, static_cast<std::byte>(value));
    const Status written = Disk("vm")->Write(GuestOffset(offset), data);
    ASSERT_TRUE(written) << written.error().message;
  }
  // What the disk shows now, for later.
  void RememberNow(const std::string& moment) {
    const DiskPtr disk = Disk("vm");
    std::string bytes(disk->size(), '?');
    ASSERT_TRUE(disk->Read(GuestOffset(0), std::as_writable_bytes(std::span(bytes))));
    WriteTextFile(At("." + moment), bytes);
  }
  // Copies of the increments, each put onto the one before as an admin would, show that moment.
  void ExpectRestores(const Words& increments, const std::string& moment) {
    const std::string store = At(".store");
    Run({"rm", "-rf", store});
    Run({"mkdir", store});
    std::string below;
    for (const std::string& name : increments) {
      const std::string copy = store + "/" + name;
      Run({"cp", At(name), copy});
      if (!below.empty()) {
        Run({"qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", copy});
      }
      Run({"qemu-img", "check", "-q", "-f", "qcow2", copy});
      below = name;
    }
    Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", store + "/" + below, At("." + moment)});
  }
  void SnapshotTo(const std::string& name) { Snapshot("vm", {.target = name}); }
};

TEST_F(BackupIncrementsTest, EachIsWhatHasChanged) {
  GoodBackup({{"target", "full.qcow2"}});
  RememberNow("0");
  // From here on everything is in layers above vm.qcow2.
  SnapshotTo("one.qcow2");
  Write(1 * kMiB, 70000, 3);
  Write(5 * kMiB, 512, 4);
  RememberNow("1");
  GoodBackup({{"target", "inc1.qcow2"}, {"since", "vm.qcow2"}});
  SnapshotTo("two.qcow2");
  Write(2 * kMiB, 512, 5);
  ASSERT_TRUE(Disk("vm")->WriteZeroes(GuestOffset(0), 200000, false));
  RememberNow("2");
  // With clusters of its own size.
  GoodBackup({{"target", "inc2.qcow2"}, {"since", "one.qcow2"}, {"cluster_size", "2097152"}});
  SnapshotTo("three.qcow2");
  RememberNow("3");
  GoodBackup({{"target", "inc3.qcow2"}, {"since", "two.qcow2"}, {"cluster_size", "512"}});
  SnapshotTo("four.qcow2");
  // Of two intervals at once, over a growth.
  ASSERT_TRUE(Disk("vm")->Grow(9 * kMiB));
  Write(8 * kMiB + 512, 4096, 6);
  RememberNow("4");
  GoodBackup({{"target", "inc4.qcow2"}, {"since", "two.qcow2"}, {"compress", "zlib"}});
  EXPECT_TRUE(Records("job-").empty());
  EXPECT_EQ(ChainOf("vm").size(), 5u);
  CloseAll();
  ExpectRestores({"full.qcow2"}, "0");
  ExpectRestores({"full.qcow2", "inc1.qcow2"}, "1");
  ExpectRestores({"full.qcow2", "inc1.qcow2", "inc2.qcow2"}, "2");
  ExpectRestores({"full.qcow2", "inc1.qcow2", "inc2.qcow2", "inc3.qcow2"}, "3");
  ExpectRestores({"full.qcow2", "inc1.qcow2", "inc2.qcow2", "inc4.qcow2"}, "4");
}

// One that did not end well has left nothing, and the next one of the same layer has it all.
TEST_F(BackupIncrementsTest, AFailedOneIsTakenAgain) {
  GoodBackup({{"target", "full.qcow2"}});
  SnapshotTo("one.qcow2");
  Write(1 * kMiB, 70000, 3);
  const Result<std::string> failed =
      Start({{"target", "inc.qcow2"}, {"since", "vm.qcow2"}, {"speed", "1"}});
  ASSERT_TRUE(failed) << failed.error().message;
  Write(4 * kMiB, 70000, 4);
  // Its name is taken by somebody meanwhile, so it cannot end.
  WriteTextFile(At("inc.qcow2"), "precious");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), *failed, 0));
  const JobInfo info = WaitEnd("vm", *failed);
  EXPECT_NE(info.error.value_or("").find("inc.qcow2"), std::string::npos);
  EXPECT_EQ(ReadTextFile(At("inc.qcow2")), "precious");
  EXPECT_NE(::access(At(".inc.qcow2." + *failed + ".part").c_str(), F_OK), 0);
  ASSERT_EQ(::unlink(At("inc.qcow2").c_str()), 0);
  ASSERT_TRUE(catalog_->Rescan());
  Write(5 * kMiB, 512, 5);
  RememberNow("1");
  GoodBackup({{"target", "inc.qcow2"}, {"since", "vm.qcow2"}});
  CloseAll();
  ExpectRestores({"full.qcow2", "inc.qcow2"}, "1");
}

TEST_F(BackupIncrementsTest, OfTheActiveLayerAloneNothingIsLost) {
  SnapshotTo("one.qcow2");
  Write(0, 512, 7);
  for (const std::string name : {"first.qcow2", "again.qcow2"}) {
    GoodBackup({{"target", name}, {"sync", "top"}});
    Write(kMiB, 512, name[0]);
  }
  RememberNow("1");
  GoodBackup({{"target", "last.qcow2"}, {"sync", "top"}});
  CloseAll();
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("last.qcow2"), At(".1")});
}

}  // namespace
}  // namespace chainfs::jobs
