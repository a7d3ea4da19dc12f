// SPDX-License-Identifier: Apache-2.0
//
// Images with extended L2 entries on the mount, in both directions: made by chainctl and by
// commands of chainfs, judged by qemu-img; made by qemu-img, and written through the mount.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 4 << 20;

class ExtendedL2Test : public testing::Test {
 protected:
  void Mount() {
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
  }
  void Unmount() {
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    daemon_.reset();
  }
  // Parts of clusters, through the mount and into a plain file: writes, zeros and discards.
  void WriteBoth(const std::string& disk, const std::string& model) {
    for (const std::string& command : RandomWrites(random_, kSize, 40)) {
      const std::string same = command.starts_with("discard")
                                   ? "write -z" + command.substr(std::string("discard").size())
                                   : command;
      QemuIo(disk, "raw", {same});
      QemuIo(model, "raw", {same});
    }
    EXPECT_TRUE(SameContents(disk, model));
  }
  void ExpectDivided(const std::string& image, bool divided) {
    const Json info =
        Json::parse(MustRun({"qemu-img", "info", "-U", "--output=json", "-f", "qcow2", image}));
    EXPECT_EQ(info["format-specific"]["data"].value("extended-l2", false), divided) << image;
  }
  void ExpectSame(const std::string& image, const std::string& model) {
    EXPECT_EQ(CheckImage(image), 0);
    MustRun({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, model});
  }

  const TempDir dir_;
  const TempDir outside_;
  Random random_;
  std::unique_ptr<Daemon> daemon_;
};

TEST_F(ExtendedL2Test, WhatQemuMadeIsWrittenByTheMount) {
  CreateQcow2(dir_ / "base.qcow2", {.size = std::to_string(kSize), .options = "extended_l2=on"});
  QemuIo(dir_ / "base.qcow2", "qcow2", RandomWrites(random_, kSize, 20));
  CreateQcow2(dir_ / "vm.qcow2",
              {.options = "extended_l2=on,cluster_size=128k", .backing = "base.qcow2"});
  QemuIo(dir_ / "vm.qcow2", "qcow2", RandomWrites(random_, kSize, 20));
  const std::string model = outside_ / "model.raw";
  Flatten(dir_ / "vm.qcow2", "qcow2", model);
  Mount();
  const std::string disk = *daemon_ / "vm.raw";
  EXPECT_EQ(Status(disk, "info")["extended-l2"], true);
  EXPECT_EQ(Status(disk, "chain")[1]["extended-l2"], true);
  WriteBoth(disk, model);
  Unmount();
  ExpectSame(dir_ / "vm.qcow2", model);
  // And on, by QEMU.
  const std::vector<std::string> more = RandomWrites(random_, kSize, 10);
  QemuIo(dir_ / "vm.qcow2", "qcow2", more);
  Flatten(dir_ / "vm.qcow2", "qcow2", model);
  Mount();
  EXPECT_TRUE(SameContents(*daemon_ / "vm.raw", model));
  Unmount();
}

TEST_F(ExtendedL2Test, WhatChainfsMadeIsReadByQemu) {
  CreateQcow2(dir_ / "vm.qcow2", {.size = std::to_string(kSize)});
  QemuIo(dir_ / "vm.qcow2", "qcow2", RandomWrites(random_, kSize, 20));
  const std::string model = outside_ / "model.raw";
  Flatten(dir_ / "vm.qcow2", "qcow2", model);
  Mount();
  const std::string disk = *daemon_ / "vm.raw";
  ASSERT_EQ(Order(disk, "snapshot", "target=one.qcow2,extended_l2=on"), 0) << LastError(disk);
  WriteBoth(disk, model);
  ASSERT_EQ(Order(disk, "snapshot", "target=two.qcow2"), 0) << LastError(disk);
  EXPECT_EQ(Status(disk, "info")["extended-l2"], true) << "like the layer that it stands on";
  WriteBoth(disk, model);
  ASSERT_EQ(Order(disk, "backup", "id=b,target=b.qcow2,extended_l2=on,compress=zstd"), 0)
      << LastError(disk);
  EXPECT_TRUE(WaitForJob(disk, "b")["error"].is_null());
  ASSERT_EQ(Order(disk, "mirror", "id=m,target=m.qcow2,extended_l2=on,then=keep"), 0)
      << LastError(disk);
  EXPECT_TRUE(WaitForJob(disk, "m")["error"].is_null());
  ASSERT_EQ(Order(disk, "stream", "id=s,base=vm.qcow2"), 0) << LastError(disk);
  EXPECT_TRUE(WaitForJob(disk, "s")["error"].is_null());
  EXPECT_EQ(LayersOf(disk), (std::vector<std::string>{"two.qcow2", "vm.qcow2"}));
  EXPECT_TRUE(SameContents(disk, model));
  Unmount();
  ExpectDivided(dir_ / "vm.qcow2", false);
  for (const std::string name : {"two.qcow2", "b.qcow2", "m.qcow2"}) {
    ExpectDivided(dir_ / name, true);
    ExpectSame(dir_ / name, model);
  }
}

}  // namespace
}  // namespace chainfs
