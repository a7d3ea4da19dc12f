// SPDX-License-Identifier: Apache-2.0
//
// chainctl backup on a real mount, with qemu-img as the judge of what it makes.
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>

#include "blocklayer/base/unique_fd.h"
#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

class ChainctlBackupTest : public ChainctlMountTest {
 protected:
  void SetUp() override {
    ChainctlMountTest::SetUp();
    if (HasFatalFailure()) return;
    // What the active layer has of its own.
    Fill(std::byte{0x55}, 3 << 20, 1 << 20);
    MustRun({"cp", vm_, flat_});
  }
  void Fill(std::byte with, uint64_t offset, size_t length) const {
    const std::vector<std::byte> data(length, with);
    UniqueFd disk(open(vm_.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(disk.valid());
    ASSERT_EQ(pwrite(disk.get(), data.data(), length, static_cast<off_t>(offset)),
              static_cast<ssize_t>(length));
    ASSERT_EQ(fsync(disk.get()), 0);
  }
  // `target` shows what the disk showed at the start.
  void ExpectIsThePoint(const std::string& target, const std::string& format) const {
    MustRun({"qemu-img", "compare", "-f", format, "-F", "raw", target, flat_});
    if (format == "qcow2") MustRun({"qemu-img", "check", "-q", target});
  }
  static void ExpectDone(const CommandResult& result) {
    EXPECT_EQ(result.exit_code, 0) << result.Describe();
    EXPECT_NE(result.out.find("done: "), std::string::npos) << result.Describe();
  }
  std::vector<std::string> Parts(const std::string& directory) const {
    std::vector<std::string> parts;
    for (const auto& entry : fs::directory_iterator(directory)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".part")) parts.push_back(name);
    }
    return parts;
  }
};

TEST_F(ChainctlBackupTest, FullIntoEachFormat) {
  ExpectDone(Chainctl({"backup", vm_, "--target", outside_ / "full.qcow2"}));
  ExpectDone(Chainctl({"backup", vm_, "--target", outside_ / "full.raw"}));
  ExpectDone(Chainctl({"backup", vm_, "--target", outside_ / "z.qcow2", "--compress", "zstd"}));
  ExpectIsThePoint(outside_ / "full.qcow2", "qcow2");
  ExpectIsThePoint(outside_ / "full.raw", "raw");
  ExpectIsThePoint(outside_ / "z.qcow2", "qcow2");
  EXPECT_EQ(LayersOf(vm_).size(), 3u) << "nothing of it is left in the chain";
  ExpectError(Chainctl({"backup", vm_, "--target", outside_ / "full.raw"}), 5);
}

TEST_F(ChainctlBackupTest, PartsStandOnTheLayerBelow) {
  ExpectDone(Chainctl({"backup", vm_, "--target", "top.qcow2", "--sync", "top"}));
  ExpectDone(Chainctl({"backup", vm_, "--target", "since.qcow2", "--since", "base.qcow2"}));
  for (const auto& [target, backing] :
       {std::pair{"top.qcow2", "mid.qcow2"}, std::pair{"since.qcow2", "base.qcow2"}}) {
    const Json info = Json::parse(
        MustRun({"qemu-img", "info", "-U", "--output=json", dir_ / target}), nullptr, false);
    EXPECT_EQ(info.value("backing-filename", ""), backing) << info;
  }
  daemon_.reset();
  ExpectIsThePoint(dir_ / "top.qcow2", "qcow2");
  ExpectIsThePoint(dir_ / "since.qcow2", "qcow2");
}

TEST_F(ChainctlBackupTest, ADryRunMakesNothing) {
  const std::string target = outside_ / "t.qcow2";
  const CommandResult dry = Chainctl({"backup", vm_, "--target", target, "--dry-run"});
  EXPECT_EQ(dry.exit_code, 0) << dry.Describe();
  EXPECT_NE(dry.out.find("estimate, nothing was done: the backup would copy up to 16 MiB"),
            std::string::npos)
      << dry.out;
  EXPECT_FALSE(fs::exists(target));
  EXPECT_TRUE(Parts(outside_.path()).empty());
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
}

TEST_F(ChainctlBackupTest, APointIsHeldAndReleased) {
  const CommandResult held = Chainctl({"backup", vm_, "--then", "hold", "--id", "h"});
  EXPECT_EQ(held.exit_code, 0) << held.Describe();
  const std::string point = *daemon_ / "vm@h.raw";
  Fill(std::byte{0x66}, 0, 65536);
  EXPECT_TRUE(SameContents(point, flat_));
  EXPECT_FALSE(SameContents(vm_, flat_));
  EXPECT_EQ(LayersOf(vm_).size(), 4u);
  const CommandResult told = Chainctl({"complete", vm_, "h"});
  EXPECT_EQ(told.exit_code, 0) << told.Describe();
  EXPECT_NE(told.out.find("h is completing"), std::string::npos) << told.out;
  EXPECT_EQ(Chainctl({"wait", vm_, "h"}).exit_code, 0);
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
  EXPECT_FALSE(fs::exists(point));
  MustRun({"cp", vm_, outside_ / "now"});
  daemon_.reset();
  MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", dir_ / "vm.qcow2", outside_ / "now"});
}

TEST_F(ChainctlBackupTest, ACancelledOneLeavesNothing) {
  const std::string target = outside_ / "t.qcow2";
  const CommandResult started =
      Chainctl({"backup", vm_, "--target", target, "-b", "--id", "slow", "--speed", "256k"});
  EXPECT_EQ(started.exit_code, 0) << started.Describe();
  EXPECT_EQ(Parts(outside_.path()).size(), 1u);
  Fill(std::byte{0x77}, 1 << 20, 65536);
  MustRun({"cp", vm_, outside_ / "now"});
  const CommandResult cancelled = Chainctl({"cancel", vm_, "slow"});
  EXPECT_EQ(cancelled.exit_code, 0) << cancelled.Describe();
  EXPECT_FALSE(fs::exists(target));
  EXPECT_TRUE(Parts(outside_.path()).empty());
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
  EXPECT_TRUE(SameContents(vm_, outside_ / "now"));
}

TEST_F(ChainctlBackupTest, OneInATransaction) {
  const CommandResult done =
      Chainctl({"transaction", daemon_->path(), "vm/backup/then=hold,id=h", "vm/snapshot"});
  EXPECT_NE(done.exit_code, 0) << "one disk, twice";
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
  EXPECT_EQ(Chainctl({"transaction", daemon_->path(), "vm/backup/then=hold,id=h"}).exit_code, 0);
  EXPECT_TRUE(SameContents(*daemon_ / "vm@h.raw", flat_));
  EXPECT_EQ(Chainctl({"cancel", vm_, "h"}).exit_code, 0);
}

}  // namespace
}  // namespace chainfs
