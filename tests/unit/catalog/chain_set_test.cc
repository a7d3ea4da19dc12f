// SPDX-License-Identifier: Apache-2.0
//
// The set of chains: entries keep their paths apart, and a disk that left the view is a ghost for
// as long as somebody has it.
#include "blocklayer/catalog/chain_set.h"

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class ChainSetTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("a.qcow2");
    ASSERT_TRUE(OpenAll());
    CatalogEntry& entry = chains_.entries()["/a"];
    entry.candidate.path = "/a";
    entry.disk = catalog_->Find("a");
    entry.name = "a";
    chains_.entries()["/b"].candidate.path = "/b";
  }
  void TearDown() override { chains_.entries().clear(); }

  EventQueue events_;
  ChainSet chains_{events_};
};

TEST_F(ChainSetTest, AnEntryIsFoundByItsDisk) {
  EXPECT_EQ(chains_.EntryOf(catalog_->Find("a").get()), &chains_.entries().at("/a"));
  EXPECT_EQ(chains_.EntryOf(nullptr), nullptr) << "though one entry has no disk";
}

TEST_F(ChainSetTest, AnEntryThatMovesStaysTheSame) {
  CatalogEntry& entry = chains_.entries().at("/a");
  Candidate to = entry.candidate;
  to.path = "/c";
  ASSERT_TRUE(chains_.Move(entry, to));
  EXPECT_EQ(&chains_.entries().at("/c"), &entry);
  EXPECT_EQ(entry.candidate.path, "/c");
  EXPECT_FALSE(chains_.entries().contains("/a"));
}

TEST_F(ChainSetTest, AnEntryDoesNotMoveOntoAnother) {
  CatalogEntry& entry = chains_.entries().at("/a");
  Candidate to = entry.candidate;
  to.path = "/b";
  const Status moved = chains_.Move(entry, to);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().kind, ErrorKind::kExists);
  EXPECT_EQ(&chains_.entries().at("/a"), &entry);
  EXPECT_EQ(entry.candidate.path, "/a");
}

TEST_F(ChainSetTest, ADiskThatIsRetiredIsAGhostWhileSomebodyHasIt) {
  CatalogEntry& entry = chains_.entries().at("/a");
  const std::weak_ptr<Disk> disk = entry.disk;
  chains_.Retire(entry);
  EXPECT_EQ(entry.disk, nullptr);
  EXPECT_TRUE(disk.lock()->read_only());
  EXPECT_EQ(chains_.Ghosts().size(), 1u);
  events_.Deliver();
  catalog_.reset();
  EXPECT_TRUE(chains_.Ghosts().empty());
  EXPECT_EQ(chains_.ghosts(), 1u);
  chains_.ForgetGhosts();
  EXPECT_EQ(chains_.ghosts(), 0u);
}

}  // namespace
}  // namespace chainfs
