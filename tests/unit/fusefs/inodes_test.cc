// SPDX-License-Identifier: Apache-2.0
//
// Inode numbers: never reused (FS-1), kept while the kernel remembers them (FS-3).
#include "fusefs/inodes.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <set>

#include "blocklayer/catalog/catalog.h"
#include "tests/support/temp_dir.h"

namespace chainfs::fusefs {
namespace {

class InodesTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a.raw", "b.raw"}) {
      WriteTextFile(dir_ / name, "");
      ASSERT_EQ(::truncate((dir_ / name).c_str(), 4096), 0);
    }
    auto catalog =
        Catalog::Open({{.path = dir_.path(), .name = std::nullopt, .format = std::nullopt}}, {});
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    a_ = catalog_->Find("a");
    b_ = catalog_->Find("b");
    ASSERT_NE(a_, nullptr);
    ASSERT_NE(b_, nullptr);
    served_a_ = std::make_shared<control::ServedDisk>(a_);
    served_b_ = std::make_shared<control::ServedDisk>(b_);
  }
  void TearDown() override {
    served_a_.reset();
    served_b_.reset();
    a_.reset();
    b_.reset();
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
  }

  TempDir dir_;
  std::unique_ptr<Catalog> catalog_;
  DiskPtr a_;
  DiskPtr b_;
  control::ServedDiskPtr served_a_;
  control::ServedDiskPtr served_b_;
};

TEST_F(InodesTest, FixedNodesAreThere) {
  const InodeTable table;
  EXPECT_EQ(table.Find(kRootInode), table.root());
  const NodePtr control = table.FindByName(NodeKind::kRoot, ".chainfs");
  ASSERT_NE(control, nullptr);
  EXPECT_TRUE(table.List(NodeKind::kRoot).empty()) << "the control directory is not listed";
  EXPECT_EQ(table.List(NodeKind::kControlDirectory).size(), 7u);
  EXPECT_NE(table.FindByName(NodeKind::kControlDirectory, "events"), nullptr);
  EXPECT_EQ(table.FindByName(NodeKind::kControlDirectory, "a.raw"), nullptr);
}

TEST_F(InodesTest, DisksAreListedByName) {
  InodeTable table;
  EXPECT_TRUE(table.Add(served_b_));
  EXPECT_TRUE(table.Add(served_a_));
  EXPECT_FALSE(table.Add(served_a_));
  const auto nodes = table.List(NodeKind::kRoot);
  ASSERT_EQ(nodes.size(), 2u);
  EXPECT_EQ(nodes[0]->name, "a.raw");
  EXPECT_EQ(nodes[1]->name, "b.raw");
  EXPECT_NE(table.FindByName(NodeKind::kMapDirectory, "a.json"), nullptr);
  EXPECT_EQ(table.FindDisk(*a_), nodes[0]);
}

TEST_F(InodesTest, NumbersAreNotReused) {
  InodeTable table;
  table.Add(served_a_);
  const uint64_t first = table.FindDisk(*a_)->ino;
  EXPECT_TRUE(table.Remove(*a_));
  EXPECT_FALSE(table.Remove(*a_));
  EXPECT_EQ(table.Find(first), nullptr);
  table.Add(served_a_);
  EXPECT_GT(table.FindDisk(*a_)->ino, first);
}

TEST_F(InodesTest, ShownNumbersComeFromTheNames) {
  InodeTable table;
  InodeTable later;
  table.Add(served_a_);
  table.Add(served_b_);
  later.Add(served_b_);
  later.Add(served_a_);
  std::set<uint64_t> numbers;
  for (const NodeKind directory :
       {NodeKind::kRoot, NodeKind::kMapDirectory, NodeKind::kChangedDirectory}) {
    for (const NodePtr& node : table.List(directory)) {
      EXPECT_EQ(later.FindByName(directory, node->name)->shown_ino, node->shown_ino) << node->name;
      EXPECT_GE(node->shown_ino, 16u);
      EXPECT_LE(node->shown_ino, uint64_t{INT64_MAX});
      numbers.insert(node->shown_ino);
    }
  }
  EXPECT_EQ(numbers.size(), 6u);
  // Whoever compares with what an earlier release showed.
  EXPECT_EQ(table.FindDisk(*a_)->shown_ino, 7483824237667791454u);
}

TEST_F(InodesTest, NoTwoNodesShowTheSameNumber) {
  InodeTable table;
  table.Add(served_a_);
  const NodePtr first = table.FindDisk(*a_);
  table.Remember(*first);
  table.Remove(*a_);
  table.Add(served_a_);
  const NodePtr second = table.FindDisk(*a_);
  EXPECT_NE(second->shown_ino, first->shown_ino) << "the first one is still open";
  table.Forget(first->ino, 1);
  table.Remove(*a_);
  table.Add(served_a_);
  EXPECT_EQ(table.FindDisk(*a_)->shown_ino, first->shown_ino);
}

TEST_F(InodesTest, ARemovedDiskStaysUntilItIsForgotten) {
  InodeTable table;
  const size_t empty = table.SizeForTesting();
  table.Add(served_a_);
  const NodePtr node = table.FindDisk(*a_);
  table.Remember(*node);
  table.Remember(*node);
  table.Remove(*a_);
  EXPECT_EQ(table.FindByName(NodeKind::kRoot, "a.raw"), nullptr);
  EXPECT_EQ(table.Find(node->ino), node);
  table.Forget(node->ino, 1);
  EXPECT_EQ(table.Find(node->ino), node);
  table.Forget(node->ino, 1);
  EXPECT_EQ(table.Find(node->ino), nullptr);
  EXPECT_EQ(table.SizeForTesting(), empty);
}

TEST_F(InodesTest, OnlyNamesThatTheKernelKnewAreToBeForgotten) {
  InodeTable table;
  EXPECT_FALSE(table.Add(served_a_).disk_known) << "there was none";
  EXPECT_FALSE(table.Remove(*a_).disk_known) << "nobody has asked for it";
  ASSERT_TRUE(table.Add(served_a_));
  const NodePtr node = table.FindByName(NodeKind::kRoot, "a.raw");
  const NodePtr map = table.FindByName(NodeKind::kMapDirectory, "a.json");
  ASSERT_NE(node, nullptr);
  ASSERT_NE(map, nullptr);
  EXPECT_TRUE(table.Remember(*node));
  const InodeTable::NameChange removed = table.Remove(*a_);
  EXPECT_TRUE(removed.disk_known);
  EXPECT_FALSE(removed.map_known);
  EXPECT_FALSE(table.Remember(*node)) << "its name leads to it no more";
  EXPECT_FALSE(table.Remember(*map));
  EXPECT_FALSE(table.Add(served_a_).disk_known)
      << "another number: the old one was told of already";
  const NodePtr again = table.FindByName(NodeKind::kMapDirectory, "a.json");
  EXPECT_TRUE(table.Remember(*again));
  EXPECT_TRUE(table.Remove(*a_).map_known);
}

TEST_F(InodesTest, AnUnlistedNodeIsThereUntilItIsForgotten) {
  InodeTable table;
  table.Add(served_a_);
  const size_t before = table.SizeForTesting();
  const NodePtr node = table.AddUnlisted(NodeKind::kChanged, "a@base.json", served_a_);
  EXPECT_FALSE(table.Remember(*node)) << "the kernel must not remember the name";
  EXPECT_EQ(table.Find(node->ino), node);
  EXPECT_EQ(table.List(NodeKind::kChangedDirectory).size(), 1u);
  EXPECT_EQ(table.FindByName(NodeKind::kChangedDirectory, "a@base.json"), nullptr);
  table.Forget(node->ino, 1);
  EXPECT_EQ(table.Find(node->ino), nullptr);
  EXPECT_EQ(table.SizeForTesting(), before);
}

TEST_F(InodesTest, ForgettingTooMuchHarmsNothing) {
  InodeTable table;
  table.Add(served_a_);
  const NodePtr node = table.FindDisk(*a_);
  table.Forget(node->ino, 100);
  table.Forget(99999, 1);
  table.Forget(kRootInode, 1000);
  EXPECT_EQ(table.FindDisk(*a_), node);
  EXPECT_NE(table.Find(kRootInode), nullptr);
}

}  // namespace
}  // namespace chainfs::fusefs
