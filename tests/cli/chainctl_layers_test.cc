// SPDX-License-Identifier: Apache-2.0
//
// chainctl layers and revert, and what a stream says about the layers that it has left out.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "tests/cli/chainctl_fixture.h"

namespace chainfs {
namespace {

class ChainctlLayersTest : public ChainctlMountTest {
 protected:
  static Json Layer(const Json& layers, const std::string& path) {
    for (const Json& layer : layers["layers"]) {
      if (layer["path"] == path) return layer;
    }
    return nullptr;
  }
};

TEST_F(ChainctlLayersTest, TellsWhoIsBuiltOnALayerDirectly) {
  for (const std::string& place : {daemon_->path(), dir_.path()}) {
    const Json layers = ChainctlJson({"layers", place});
    const Json base = Layer(layers, dir_ / "base.qcow2");
    ASSERT_TRUE(base.is_object()) << layers;
    EXPECT_EQ(base["built-on-by"].size(), 1u) << base;
    EXPECT_EQ(base["needed"], true);
    EXPECT_GT(base["actual-size"], 0);
  }
  const CommandResult text = Chainctl({"layers", daemon_->path()});
  EXPECT_EQ(text.exit_code, 0) << text.Describe();
  EXPECT_NE(text.out.find("mid.qcow2"), std::string::npos) << text.out;
}

// Not some disk above it, and never a long list.
TEST_F(ChainctlLayersTest, ListNamesTheDirectOverlaysOrTheirNumber) {
  EXPECT_NE(
      Chainctl({"list", daemon_->path()}).out.find("base: read-only: mid.qcow2 is built on it"),
      std::string::npos)
      << Chainctl({"list", daemon_->path()}).Describe();
  for (int i = 0; i < 4; ++i) {
    CreateQcow2(dir_ / fmt::format("more{}.qcow2", i), {.backing = "base.qcow2"});
  }
  EXPECT_TRUE(Eventually([&] {
    return Chainctl({"list", daemon_->path()})
               .out.find("base: read-only: 5 images are built on it") != std::string::npos;
  }));
}

TEST_F(ChainctlLayersTest, ListNamesWhoHasLockedAnImage) {
  CreateQcow2(dir_ / "held.qcow2", {.size = "1M"});
  Command qemu({"qemu-io", "-f", "qcow2", dir_ / "held.qcow2"});
  EXPECT_TRUE(Eventually([&] {
    return Chainctl({"list", daemon_->path()})
               .out.find(fmt::format("locked by another process ({} qemu-io); stop it",
                                     qemu.pid())) != std::string::npos;
  })) << Chainctl({"list", daemon_->path()}).Describe();
}

TEST_F(ChainctlLayersTest, ADirectoryThatNoMountShows) {
  const CommandResult result = Chainctl({"layers", outside_.path()});
  ExpectError(result, 6);
  EXPECT_NE(result.err.find("no mount"), std::string::npos) << result.err;
}

TEST_F(ChainctlLayersTest, AStreamSaysWhatNobodyNeedsAnyMore) {
  const CommandResult result = Chainctl({"stream", vm_, "--base", "base.qcow2"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.out.find("no image in view needs " + dir_ / "mid.qcow2"), std::string::npos)
      << result.out;
  EXPECT_EQ(result.out.find("needs " + dir_ / "base.qcow2"), std::string::npos) << result.out;
}

TEST_F(ChainctlLayersTest, WhatAStreamLeftOutIsKeptUntilSomebodySaysOtherwise) {
  ASSERT_EQ(Chainctl({"stream", vm_, "--base", "base.qcow2"}).exit_code, 0);
  const Json mid = Layer(ChainctlJson({"layers", daemon_->path()}), dir_ / "mid.qcow2");
  EXPECT_EQ(mid["needed"], false) << mid;
  EXPECT_NE(Chainctl({"layers", dir_.path()}).out.find("may be deleted"), std::string::npos);
  const std::string disk = *daemon_ / "mid.raw";
  EXPECT_EQ(OpenedFile(disk, O_RDWR).valid(), false);
  const CommandResult list = Chainctl({"list", daemon_->path()});
  EXPECT_NE(list.out.find("mid: read-only: a stream has merged it into"), std::string::npos)
      << list.out;
  const CommandResult thawed = Chainctl({"thaw", disk});
  EXPECT_EQ(thawed.exit_code, 0) << thawed.Describe();
  EXPECT_TRUE(OpenedFile(disk, O_RDWR).valid());
  ExpectError(Chainctl({"thaw", vm_}), 1);
}

TEST_F(ChainctlLayersTest, AStreamDeletesWhatNobodyNeeds) {
  const CommandResult dry =
      Chainctl({"stream", vm_, "--base", "base.qcow2", "--delete", "--dry-run"});
  EXPECT_NE(dry.out.find("it would remove " + dir_ / "mid.qcow2"), std::string::npos) << dry.out;
  EXPECT_TRUE(std::filesystem::exists(dir_ / "mid.qcow2"));
  const CommandResult result = Chainctl({"stream", vm_, "--base", "base.qcow2", "--delete"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_NE(result.out.find("removed " + dir_ / "mid.qcow2"), std::string::npos) << result.out;
  EXPECT_FALSE(std::filesystem::exists(dir_ / "mid.qcow2"));
  EXPECT_TRUE(std::filesystem::exists(dir_ / "base.qcow2"));
  EXPECT_TRUE(SameContents(vm_, flat_));
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(*daemon_ / "mid.raw"); }));
}

// What the kernel remembers of the disk must not outlive what it was.
TEST_F(ChainctlLayersTest, RevertGoesBackToOldContentsAndSize) {
  ASSERT_EQ(Chainctl({"snapshot", vm_}).exit_code, 0);
  ASSERT_EQ(Chainctl({"snapshot", vm_}).exit_code, 0);
  ASSERT_EQ(::truncate(vm_.c_str(), 20 << 20), 0);
  {
    const OpenedFile writer(vm_, O_RDWR);
    ASSERT_TRUE(writer.valid());
    const std::string data(1 << 20, 'n');
    ASSERT_EQ(::pwrite(writer.get(), data.data(), data.size(), 2 << 20), 1 << 20);
    const CommandResult open = Chainctl({"revert", vm_, "vm.qcow2", "--yes"});
    ExpectError(open, 5);
    EXPECT_NE(open.err.find("is open for writing"), std::string::npos) << open.err;
  }
  MustRun({"ls", "-l", daemon_->path()});
  EXPECT_FALSE(SameContents(vm_, flat_));  // all of it is in the page cache now
  const Json done = ChainctlJson({"revert", vm_, "vm.qcow2", "--yes"});
  EXPECT_EQ(done["dropped"].size(), 2u) << done;
  EXPECT_EQ(done["active"], dir_ / "vm.qcow2") << done;
  EXPECT_TRUE(SameContents(vm_, flat_));
  EXPECT_EQ(std::filesystem::file_size(vm_), 16u << 20);
  EXPECT_TRUE(OpenedFile(vm_, O_RDWR).valid());
  EXPECT_FALSE(std::filesystem::exists(dir_ / "vm.1.qcow2"));
  EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
  EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
  ASSERT_TRUE(daemon_->Restart());
  EXPECT_TRUE(SameContents(vm_, flat_));
  EXPECT_EQ(Order(vm_, "revert", "to=mid.qcow2"), EINVAL);
  EXPECT_NE(LastError(vm_).find("yes=yes"), std::string::npos) << LastError(vm_);
}

// Nothing is dropped because a script did not know that it would be.
TEST_F(ChainctlLayersTest, RevertAsksFirst) {
  ASSERT_EQ(Chainctl({"snapshot", vm_}).exit_code, 0);
  const CommandResult unasked = Chainctl({"revert", vm_, "vm.qcow2"});
  ExpectError(unasked, 2);
  EXPECT_NE(unasked.err.find("--yes"), std::string::npos) << unasked.err;
  ExpectError(Chainctl({"revert", vm_, "nothing.qcow2", "--yes"}), 1);
  ExpectError(Chainctl({"revert", vm_, LayersOf(vm_).front(), "--yes"}), 1);
  EXPECT_EQ(LayersOf(vm_).size(), 4u);
}

}  // namespace
}  // namespace chainfs
