// SPDX-License-Identifier: Apache-2.0
//
// The tools that people use on files, used on flat disks: copies are equal and sparse, archives
// carry nothing away and trigger nothing when they come back, and QEMU's own tools and chainfs
// refuse each other's images.
#include <filesystem>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

// vm.raw: 32 MiB, an overlay on base.qcow2, mostly holes; its flat contents beside it.
class ToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "base.qcow2", {.size = "32M"});
    QemuIo(dir_ / "base.qcow2", "qcow2", {"write -P 1 1M 256k", "write -P 9 8M 64k"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir_ / "vm.qcow2", "qcow2", {"write -P 2 2M 192k", "write -P 3 30M 4k"});
    flat_ = outside_ / "flat";
    Flatten(dir_ / "vm.qcow2", "qcow2", flat_);
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
    chain_ = GetAttribute(vm_, "user.chainfs.chain");
  }
  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
  }

  // Sizes change with what is written; names and formats must not.
  void ExpectNothingTriggered() const {
    EXPECT_EQ(LayersOf(vm_), (std::vector<std::string>{"vm.qcow2", "base.qcow2"}));
    EXPECT_EQ(GetAttribute(vm_, "user.chainfs.jobs"), "[]");
    // An operation may have been refused, but no command was given.
    const Json error = Status(vm_, "error");
    EXPECT_FALSE(error.is_object() && error.value("attribute", "").starts_with("user.chainfs."))
        << error.dump();
    EXPECT_EQ(GetAttribute(daemon_->path(), "user.chainfs.jobs"), "[]");
    EXPECT_FALSE(fs::exists(dir_ / ".chainfs"));
  }
  static uint64_t Allocated(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(::stat(path.c_str(), &st), 0);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  const TempDir dir_;
  const TempDir outside_;
  std::unique_ptr<Daemon> daemon_;
  std::string flat_;
  std::string vm_;
  std::string chain_;
};

TEST_F(ToolsTest, CopiesAreEqualAndSparse) {
  MustRun({"cmp", vm_, flat_});
  for (const std::string sparse : {"auto", "always", "never"}) {
    MustRun({"cp", "--sparse=" + sparse, vm_, outside_ / sparse});
    EXPECT_TRUE(SameContents(outside_ / sparse, flat_));
  }
  EXPECT_LT(Allocated(outside_ / "auto"), 2u << 20);
  EXPECT_LT(Allocated(outside_ / "always"), 2u << 20);
  for (const std::string way : {"iflag=direct", "iflag=nonblock"}) {
    MustRun({"dd", "if=" + vm_, "of=" + outside_ / way, "bs=64k", "status=none", way});
    EXPECT_TRUE(SameContents(outside_ / way, flat_));
  }
  ExpectNothingTriggered();
}

TEST_F(ToolsTest, DdRestoresADisk) {
  Random random;
  WriteRandomFile(outside_ / "backup", 32 << 20, random);
  for (const std::string way : {"fsync", "notrunc,sparse"}) {
    MustRun({"dd", "if=" + outside_ / "backup", "of=" + vm_, "bs=1M", "status=none",
             "conv=notrunc,nocreat," + way});
    EXPECT_TRUE(SameContents(vm_, outside_ / "backup"));
  }
  MustRun(
      {"dd", "if=" + flat_, "of=" + vm_, "bs=1M", "status=none", "conv=notrunc", "oflag=direct"});
  EXPECT_TRUE(SameContents(vm_, flat_));
  ExpectNothingTriggered();
}

TEST_F(ToolsTest, ArchivesCarryNothingAway) {
  MustRun({"cp", "-a", daemon_->path() + "/.", outside_ / "copied"});
  MustRun({"rsync", "-aX", "--sparse", daemon_->path() + "/", outside_ / "synced"});
  MustRun({"tar", "--xattrs", "--xattrs-include=*", "--acls", "-C", daemon_->path(), "-cf",
           outside_ / "disks.tar", "."});
  fs::create_directory(outside_ / "untarred");
  MustRun({"tar", "--xattrs", "--xattrs-include=*", "-C", outside_ / "untarred", "-xf",
           outside_ / "disks.tar"});
  for (const std::string copy : {"copied", "synced", "untarred"}) {
    EXPECT_TRUE(SameContents(outside_ / (copy + "/vm.raw"), flat_)) << copy;
    EXPECT_FALSE(fs::exists(outside_ / (copy + "/.chainfs"))) << copy;
    EXPECT_EQ(MustRun({"getfattr", "-d", "-m", "-", outside_ / (copy + "/vm.raw")}), "") << copy;
  }
  ExpectNothingTriggered();
}

TEST_F(ToolsTest, ArchivesComingBackTriggerNothing) {
  MustRun({"cp", "-a", daemon_->path() + "/.", outside_ / "copied"});
  MustRun({"tar", "--xattrs", "--xattrs-include=*", "-C", daemon_->path(), "-cf",
           outside_ / "disks.tar", "vm.raw"});
  // These remove, create or truncate: refused, and the disk is as it was.
  EXPECT_FALSE(RunCommand({"cp", "-a", outside_ / "copied/vm.raw", vm_}).ok());
  EXPECT_FALSE(
      RunCommand({"rsync", "-aX", "--checksum", "--ignore-times", outside_ / "copied/vm.raw", vm_})
              .exit_code == 0 &&
      !SameContents(vm_, flat_));
  EXPECT_FALSE(RunCommand({"tar", "--xattrs", "--xattrs-include=*", "-C", daemon_->path(), "-xf",
                           outside_ / "disks.tar"})
                   .ok());
  EXPECT_FALSE(RunCommand({"tar", "--xattrs", "--unlink-first", "-C", daemon_->path(), "-xf",
                           outside_ / "disks.tar"})
                   .ok());
  EXPECT_TRUE(SameContents(vm_, flat_));
  // In place it is a plain write.
  MustRun({"rsync", "-X", "--inplace", "--ignore-times", outside_ / "copied/vm.raw", vm_});
  EXPECT_TRUE(SameContents(vm_, flat_));
  // getfattr's dump of a disk, restored.
  const std::string dump = MustRun({"getfattr", "-d", "-m", "-", "--absolute-names", vm_});
  WriteTextFile(outside_ / "dump", dump);
  MustRun({"setfattr", "--restore=" + outside_ / "dump"});
  ExpectNothingTriggered();
}

TEST_F(ToolsTest, CrawlersDoNotMeetTheEvents) {
  const CommandResult result = RunCommand({"grep", "-r", "no such text", daemon_->path()});
  EXPECT_EQ(result.exit_code, 1) << result.Describe();  // nothing found
  ExpectNothingTriggered();
}

TEST_F(ToolsTest, QemuImgUsesTheFlatDisk) {
  const Json info = Json::parse(MustRun({"qemu-img", "info", "-f", "raw", "--output=json", vm_}));
  EXPECT_EQ(info["virtual-size"], 32 << 20);
  MustRun({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", vm_, outside_ / "copy.qcow2"});
  MustRun({"qemu-img", "compare", "-f", "raw", "-F", "qcow2", flat_, outside_ / "copy.qcow2"});
  MustRun({"qemu-img", "convert", "-n", "-T", "none", "-t", "none", "-f", "raw", "-O", "raw", flat_,
           vm_});
  EXPECT_TRUE(SameContents(vm_, flat_));
  ExpectNothingTriggered();
}

TEST_F(ToolsTest, QemuRefusesOurImages) {
  const std::string active = dir_ / "vm.qcow2";
  const std::string base = dir_ / "base.qcow2";
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"qemu-img", "info", active},
        {"qemu-img", "check", active},
        {"qemu-img", "resize", active, "64M"},
        {"qemu-img", "commit", active},
        {"qemu-img", "rebase", "-u", "-b", "", base}}) {
    const CommandResult result = RunCommand(words);
    EXPECT_NE(result.exit_code, 0) << words[1];
    EXPECT_NE(result.err.find("Failed to get"), std::string::npos) << words[1] << "\n"
                                                                   << result.Describe();
  }
  // Reading what is only read is allowed, and anything with force-share.
  MustRun({"qemu-img", "info", base});
  MustRun({"qemu-img", "info", "-U", active});
  EXPECT_TRUE(SameContents(vm_, flat_));
}

TEST_F(ToolsTest, AnImageThatQemuHoldsAppearsAfterwards) {
  CreateQcow2(outside_ / "held.qcow2", {.size = "1M"});
  QemuIo(outside_ / "held.qcow2", "qcow2", {"write -P 6 0 64k"});
  Command holder({"qemu-io", "-f", "qcow2", outside_ / "held.qcow2"});
  ASSERT_TRUE(holder.Write("read 0 512\n"));
  ASSERT_TRUE(holder.WaitForOutput("read 512/512"));
  fs::rename(outside_ / "held.qcow2", dir_ / "held.qcow2");
  Json broken;
  EXPECT_TRUE(Eventually([&] {
    broken = ReadJson(*daemon_ / ".chainfs/chains.json")["broken"];
    return !broken.empty();
  }));
  ASSERT_EQ(broken.size(), 1u) << broken.dump();
  EXPECT_NE(broken[0]["error"].get<std::string>().find("lock"), std::string::npos) << broken.dump();
  EXPECT_FALSE(fs::exists(*daemon_ / "held.raw"));
  EXPECT_TRUE(holder.Write("quit\n"));
  EXPECT_EQ(holder.Wait().exit_code, 0);
  EXPECT_TRUE(Eventually([&] { return fs::exists(*daemon_ / "held.raw"); })) << daemon_->Log();
  EXPECT_EQ(ReadTextFile(*daemon_ / "held.raw")[100], 6);
}

}  // namespace
}  // namespace chainfs
