// SPDX-License-Identifier: Apache-2.0
//
// Chains on images of the formats that chainfs only reads: the overlay is written and filled, the
// base is only ever read.
#include <gtest/gtest.h>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

class ReadOnlyFormatsTest : public CommitFixture, public testing::WithParamInterface<const char*> {
 protected:
  std::string format() const { return GetParam(); }
  std::string base() const { return "base." + format(); }

  // base <- vm: a disk with a little data, and over it a little more.
  void Make() {
    const TempDir elsewhere;
    const std::string raw = elsewhere / "base.raw";
    Run({"qemu-img", "create", "-q", "-f", "raw", raw, "8M"});
    Run({"qemu-io", "-f", "raw", "-c", "write -P 1 1M 300k", "-c", "write -P 2 5M 2M", raw});
    // In VHD images of other sizes, the geometry makes the disk larger.
    Run({"qemu-img", "convert", "-f", "raw", "-O", format(), raw, At(base())});
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "-b", base(), "-F", format(), At("vm.qcow2")});
    Io("vm.qcow2", {"write -P 3 1100k 100k", "write -P 4 4M 64k"});
    Remember("vm.qcow2");
    before_ = ReadTextFile(At(base()));
  }
  void TearDown() override {
    CloseAll();
    EXPECT_EQ(ReadTextFile(At(base())), before_) << "the base was changed";
  }

  std::string before_;
};

TEST_P(ReadOnlyFormatsTest, AnOverlayIsWrittenAndThenHoldsEverything) {
  Make();
  OpenAll();
  EXPECT_FALSE(Disk("vm")->read_only());
  EXPECT_TRUE(Disk("base")->read_only());
  const std::vector<std::byte> written(70000, std::byte{9});
  ASSERT_TRUE(Disk("vm")->Write(GuestOffset(3000000), written));
  const std::vector<std::byte> shown = Contents("vm");
  Stream({.disk = "vm"});
  EXPECT_EQ(ChainOf("vm"), Words{"vm.qcow2"});
  EXPECT_TRUE(Contents("vm") == shown);
  CloseAll();
  ExpectSound("vm.qcow2");
  Io("vm.qcow2", {"write -P 9 3000000 70000"});
  Run({"qemu-io", "-f", "raw", "-c", "write -P 9 3000000 70000", At(".vm.qcow2")});
  ExpectAsRemembered("vm.qcow2");
}

TEST_P(ReadOnlyFormatsTest, ACommitIntoItIsRefused) {
  Make();
  OpenAll();
  privileged_ = true;
  const Error error = RefusedCommit("vm", "base=" + base());
  EXPECT_EQ(error.kind, ErrorKind::kReadOnly) << error.message;
  EXPECT_NE(error.message.find(base() + ": cannot be written: chainfs only reads this format"),
            std::string::npos)
      << error.message;
  EXPECT_TRUE(Records().empty());
}

TEST_P(ReadOnlyFormatsTest, ItIsShownReadOnlyAndGetsNoFurtherData) {
  Make();
  OpenAll();
  const DiskPtr disk = Disk("base");
  EXPECT_EQ(disk->Write(GuestOffset(0), std::vector<std::byte>(512)).error().kind,
            ErrorKind::kReadOnly);
  EXPECT_FALSE(StartStream(*jobs_, *catalog_, {.disk = "base"}));
  EXPECT_FALSE(catalog_->Snapshot(disk, {}));
  EXPECT_EQ(Contents("base").size(), disk->size());
}

INSTANTIATE_TEST_SUITE_P(Formats, ReadOnlyFormatsTest,
                         testing::Values("vdi", "vhdx", "vmdk", "vpc"),
                         [](const auto& tested) { return tested.param; });

}  // namespace
}  // namespace chainfs::jobs
