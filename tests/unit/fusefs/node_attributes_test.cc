// SPDX-License-Identifier: Apache-2.0
//
// What stat shows: made of the options, of the disk, and of what was set.
#include "fusefs/node_attributes.h"

#include "tests/unit/fusefs/served_fixture.h"

namespace chainfs::fusefs {
namespace {

class NodeAttributesTest : public ServedDiskTest {
 protected:
  void SetUp() override {
    ServedDiskTest::SetUp();
    table_.Add(served_);
    node_ = table_.FindDisk(*served_->disk);
    ASSERT_NE(node_, nullptr);
  }
  void TearDown() override {
    table_.Remove(*served_->disk);
    node_.reset();
    ServedDiskTest::TearDown();
  }
  NodePtr Control(std::string_view name) {
    return table_.FindByName(NodeKind::kControlDirectory, name);
  }

  Options options_;
  InodeTable table_;
  NodePtr node_;
};

TEST_F(NodeAttributesTest, ADiskIsAFileOfItsSize) {
  const NodeAttributes attributes(options_);
  const struct stat st = attributes.StatOf(*node_);
  EXPECT_EQ(st.st_mode, S_IFREG | 0644u);
  EXPECT_EQ(node_->shown_mode, st.st_mode);
  EXPECT_EQ(st.st_size, static_cast<off_t>(kSize));
  EXPECT_EQ(st.st_ino, node_->shown_ino);
  EXPECT_EQ(st.st_nlink, 1u);
  EXPECT_EQ(st.st_uid, ::getuid());
}

TEST_F(NodeAttributesTest, OptionsSayWhoseItIs) {
  options_.uid = 77;
  options_.gid = 88;
  options_.umask = 0077;
  options_.control_gid = 99;
  const NodeAttributes attributes(options_);
  EXPECT_EQ(attributes.StatOf(*node_).st_uid, 77u);
  EXPECT_EQ(attributes.StatOf(*node_).st_gid, 88u);
  EXPECT_EQ(attributes.ModeOf(*table_.root()), S_IFDIR | 0700u);
  EXPECT_EQ(attributes.ModeOf(*Control("map")), S_IFDIR | 0750u);
  EXPECT_EQ(attributes.ModeOf(*Control("events")), S_IFREG | 0440u);
  EXPECT_EQ(attributes.StatOf(*Control("events")).st_gid, 99u);
}

TEST_F(NodeAttributesTest, TheModeSaysWhoMayWrite) {
  options_.uid = 77;
  options_.gid = 88;
  options_.umask = 0002;
  const auto may = [&](const Node& node, uid_t uid, gid_t gid, std::vector<gid_t> further = {}) {
    return NodeAttributes(options_).LetsWrite(
        node, {.uid = uid, .gid = gid, .groups = [further] { return further; }});
  };
  const Node& root = *table_.root();
  EXPECT_TRUE(may(root, 0, 0)) << "root always";
  EXPECT_TRUE(may(root, 77, 1));
  EXPECT_TRUE(may(root, 5, 88));
  EXPECT_TRUE(may(root, 5, 1, {2, 88}));
  EXPECT_FALSE(may(root, 5, 1, {2}));
  options_.umask = 0277;
  EXPECT_FALSE(may(root, 77, 88)) << "the owner counts as nothing else";
  EXPECT_TRUE(may(root, 0, 0));
  // A disk is not more writable than its image.
  options_.umask = 0;
  EXPECT_EQ(may(*node_, 77, 1), (NodeAttributes(options_).ModeOf(*node_) & S_IWUSR) != 0);
  EXPECT_EQ(may(*node_, 5, 88), (NodeAttributes(options_).ModeOf(*node_) & S_IWGRP) != 0);
  EXPECT_FALSE(may(*node_, 5, 1));
}

TEST_F(NodeAttributesTest, WithoutAControlGroupOthersSeeNothing) {
  const NodeAttributes attributes(options_);
  EXPECT_EQ(attributes.ModeOf(*Control("map")), S_IFDIR | 0700u);
  for (const char* name : {"events", "chains.json", "jobs.json", "metrics", "layers.json"}) {
    EXPECT_EQ(attributes.ModeOf(*Control(name)), S_IFREG | 0400u) << name;
  }
}

TEST_F(NodeAttributesTest, AReadOnlyDiskShowsThatItIs) {
  const NodeAttributes attributes(options_);
  served_->disk->access().Forbid("somebody says so");
  EXPECT_EQ(attributes.ModeOf(*node_), S_IFREG | 0444u);
}

TEST_F(NodeAttributesTest, WhatWasSetIsShownUntilTheDiskIsWritten) {
  const NodeAttributes attributes(options_);
  {
    const MutexLock lock(node_->mu);
    node_->overrides.permissions = 0600;
    node_->overrides.uid = 5;
    node_->overrides.modified = timespec{.tv_sec = 1000, .tv_nsec = 7};
    node_->overrides.modified_when_set = served_->disk->modified();
  }
  EXPECT_EQ(attributes.ModeOf(*node_), S_IFREG | 0600u);
  EXPECT_EQ(attributes.StatOf(*node_).st_uid, 5u);
  EXPECT_EQ(attributes.StatOf(*node_).st_mtim.tv_sec, 1000);
  Write('x');
  EXPECT_NE(attributes.StatOf(*node_).st_mtim.tv_sec, 1000);
}

}  // namespace
}  // namespace chainfs::fusefs
