// SPDX-License-Identifier: Apache-2.0
//
// Snapshots onto an image that somebody has made for it.
#include "ctl/control/empty_overlay.h"

#include "ctl/control/snapshot_command.h"
#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::control {
namespace {

using Words = std::vector<std::string>;

class EmptyOverlayTest : public jobs::StreamFixture {
 protected:
  void SetUp() override {
    MakeFive();
    Remember("e.qcow2");
  }
  Status Command(const std::string& value) {
    CHAINFS_ASSIGN(
        const verbs::Arguments arguments,
        verbs::Arguments::Parse(value, verbs::FindVerb(verbs::Verbs(), "snapshot")->keys));
    return SnapshotCommand(*catalog_, *jobs_).Run(arguments, Disk("e"), false);
  }
  void ExpectRefused(const std::string& target, const std::string& why) {
    const Status refused = Command("existing=yes,target=" + target);
    ASSERT_FALSE(refused) << target;
    EXPECT_NE(refused.error().message.find(why), std::string::npos) << refused.error().message;
    EXPECT_EQ(ChainOf("e").size(), 5u);
    EXPECT_TRUE(Records("merged-").empty()) << "it is hidden for good";
  }
  bool Exists(const std::string& name) const { return ::access(At(name).c_str(), F_OK) == 0; }
};

TEST_F(EmptyOverlayTest, TheNewLayerTakesItsPlace) {
  for (const char* const backing : {"", "e.qcow2"}) {
    SCOPED_TRACE(backing);
    // Of either kind, whatever the layer below is.
    const bool divided = *backing != '\0';
    Create("f.qcow2", 8 * kMiB, backing,
           divided ? "cluster_size=16k,extended_l2=on" : "cluster_size=4k");
    OpenAll();
    ASSERT_TRUE(Command("existing=yes,target=f.qcow2,dry-run=yes"));
    EXPECT_EQ(ChainOf("e").size(), 5u);
    const Status taken = Command("existing=yes,target=f.qcow2");
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(ChainOf("e"),
              (Words{"f.qcow2", "e.qcow2", "d.qcow2", "c.qcow2", "b.qcow2", "a.qcow2"}));
    EXPECT_EQ(Disk("e")->chain()->active->image->cluster_size(), divided ? 16384u : 4096u);
    EXPECT_EQ(Disk("e")->chain()->active->image->has_subclusters(), divided);
    const std::vector<std::byte> data(512, std::byte{9});
    ASSERT_TRUE(Disk("e")->Write(GuestOffset(0), data));
    CloseAll();
    EXPECT_EQ(ChainOnDisk("f.qcow2").size(), 6u);
    ExpectSound("f.qcow2");
    ExpectAsRemembered("e.qcow2");
    Run({"rm", "-rf", At("f.qcow2"), At(".chainfs")});
  }
}

TEST_F(EmptyOverlayTest, WhatHoldsSomethingIsLeftAlone) {
  Create("full.qcow2", 8 * kMiB);
  Io("full.qcow2", {"write -P 77 5M 512"});
  Create("short.qcow2", 4 * kMiB);
  Create("sibling.qcow2", 8 * kMiB, "d.qcow2");
  OpenAll();
  ExpectRefused("full.qcow2", "it holds data");
  ExpectRefused("short.qcow2", "bytes");
  ExpectRefused("sibling.qcow2", "not the active layer");
  ExpectRefused("d.qcow2", "cannot be a target");
  ExpectRefused("e.qcow2", "cannot be a target");
  ExpectRefused("nothing.qcow2", "nothing.qcow2");
  EXPECT_FALSE(Command("existing=yes")) << "without a name";
  EXPECT_NE(catalog_->Find("full"), nullptr) << "it is shown again";
  CloseAll();
  Io("full.qcow2", {"read -P 77 5M 512"});
  for (const char* const name : {"short.qcow2", "sibling.qcow2"}) EXPECT_TRUE(Exists(name));
  ExpectAsRemembered("e.qcow2");
}

// Somebody who died between hiding it and making room for the new one.
TEST_F(EmptyOverlayTest, IsFoundAgainAfterACrash) {
  Create("f.qcow2", 8 * kMiB);
  OpenAll();
  {
    const auto left = catalog_->moves().OpenTarget(
        Disk("e"), {.path = "f.qcow2", .format = ImageFormat::kQcow2, .job = "a snapshot"});
    ASSERT_TRUE(left) << left.error().message;
  }
  CloseAll();
  OpenAll();
  const Status taken = Command("existing=yes,target=f.qcow2");
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(ChainOf("e").front(), "f.qcow2");
  CloseAll();
  OpenAll();
  EXPECT_EQ(ChainOf("e").front(), "f.qcow2");
  EXPECT_FALSE(Disk("e")->read_only()) << Disk("e")->ReadOnlyReason();
}

}  // namespace
}  // namespace chainfs::control
