// SPDX-License-Identifier: Apache-2.0
//
// A point in time that is held for a job: what it shows, that it lasts, and how it ends.
#include <filesystem>
#include <utility>

#include "blocklayer/catalog/chain_moves.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

class HeldPointTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("vm.qcow2");
    Start();
    Fill(disk_, 0, 4096, 'a');
  }
  void TearDown() override { disk_ = nullptr; }

  void Start() {
    disk_ = nullptr;
    ASSERT_TRUE(OpenAll());
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
  }
  FrozenPoint Hold(const std::string& id = "backup-1") {
    Result<FrozenPoint> point = catalog_->moves().FreezeFor(disk_, {.id = id});
    EXPECT_TRUE(point) << point.error().message;
    return point.value_or(FrozenPoint{});
  }
  Result<LeftOutLayers> End(const FrozenPoint& point) {
    ContinueRequest request;
    request.to = point.frozen;
    request.remove_left = true;
    request.job = "backup-1";
    request.last_round = [&]() -> Status {
      std::vector<std::byte> all(disk_->size());
      CHAINFS_TRY(disk_->Read(GuestOffset(0), all));
      return point.frozen->image->writer()->Write(GuestOffset(0), all, nullptr);
    };
    const Result<LayerLease> lease = catalog_->leases().Take(point.frozen, LeaseKind::kCommitBase);
    if (!lease) return std::unexpected(lease.error());
    return catalog_->moves().ContinueOn(disk_, request);
  }
  bool IsThere(std::string_view name) const { return std::filesystem::exists(At(name)); }

  DiskPtr disk_;
};

TEST_F(HeldPointTest, TheMomentIsADiskOfItsOwnWhileTheOtherGoesOn) {
  const FrozenPoint point = Hold();
  ASSERT_NE(point.overlay, nullptr);
  EXPECT_EQ(point.overlay->path, At("vm.backup-1.qcow2"));
  EXPECT_EQ(point.frozen->path, At("vm.qcow2"));
  Fill(disk_, 0, 4096, 'b');
  EXPECT_EQ(Shown(), (Names{"vm", "vm@backup-1"}));
  const DiskPtr held = catalog_->Find("vm@backup-1");
  ASSERT_NE(held, nullptr);
  EXPECT_TRUE(held->read_only());
  EXPECT_EQ(Peek(held, 0, 1), "a");
  EXPECT_EQ(Peek(disk_, 0, 1), "b");
  RescanTwice();
  EXPECT_EQ(catalog_->Find("vm@backup-1"), held);
}

TEST_F(HeldPointTest, ItLastsAndIsTakenUp) {
  {
    const FrozenPoint point = Hold();
  }
  Fill(disk_, 0, 4096, 'b');
  Start();
  EXPECT_EQ(Shown(), (Names{"vm", "vm@backup-1"}));
  EXPECT_EQ(Peek(catalog_->Find("vm@backup-1"), 0, 1), "a");
  EXPECT_EQ(Peek(disk_, 0, 1), "b");
  const FrozenPoint again = Hold();
  ASSERT_NE(again.overlay, nullptr);
  EXPECT_EQ(again.overlay->path, At("vm.backup-1.qcow2"));
  EXPECT_EQ(disk_->chain()->depth(), 2u) << "it is the one that there was";
  EXPECT_TRUE(catalog_->moves().FrozenFor(disk_, "backup-1").value().has_value());
  EXPECT_FALSE(catalog_->moves().FrozenFor(disk_, "backup-2").value().has_value());
  const Result<LeftOutLayers> ended = End(again);
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(Peek(disk_, 0, 1), "b");
}

TEST_F(HeldPointTest, MeanwhileTheChainTakesNoOtherChange) {
  const FrozenPoint point = Hold();
  const auto busy = [](const auto& result) {
    return !result && result.error().kind == ErrorKind::kBusy &&
           result.error().message.find("backup-1 holds a point in time") != std::string::npos;
  };
  EXPECT_TRUE(busy(catalog_->moves().FreezeFor(disk_, {.id = "backup-2"})));
  EXPECT_TRUE(busy(catalog_->Snapshot(disk_, {})));
  EXPECT_TRUE(busy(catalog_->PlanSnapshot(disk_, {})));
  EXPECT_TRUE(busy(catalog_->Revert(disk_, *point.frozen, false, true)));
}

TEST_F(HeldPointTest, ItEndsInTheLayerThatItFroze) {
  const FrozenPoint point = Hold();
  Fill(disk_, 0, 4096, 'b');
  const Result<LeftOutLayers> ended = End(point);
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_EQ(ended->removed, Names{At("vm.backup-1.qcow2")});
  EXPECT_EQ(Shown(), Names{"vm"});
  EXPECT_EQ(Peek(disk_, 0, 1), "b");
  EXPECT_FALSE(disk_->read_only());
  EXPECT_FALSE(IsThere("vm.backup-1.qcow2"));
  EXPECT_FALSE(IsThere(".chainfs/chain-vm")) << "the chain is what it was";
  Fill(disk_, 0, 4096, 'c');
  ASSERT_TRUE(catalog_->Snapshot(disk_, {})) << "and takes changes again";
  EXPECT_EQ(Peek(disk_, 0, 1), "c");
}

TEST_F(HeldPointTest, NotWhileSomebodyHasItOpen) {
  const FrozenPoint point = Hold();
  const DiskPtr held = catalog_->Find("vm@backup-1");
  {
    const DiskAccess::Ticket reader = held->access().CountReader();
    const Result<LeftOutLayers> refused = End(point);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kBusy);
    EXPECT_NE(refused.error().message.find("vm@backup-1: somebody has it open"), std::string::npos)
        << refused.error().message;
    EXPECT_FALSE(held->access().closed());
  }
  ASSERT_TRUE(End(point));
  EXPECT_TRUE(held->access().closed()) << "who has found it before does not open it now";
}

TEST_F(HeldPointTest, AnImageThatIsASourceHasItToo) {
  catalog_.reset();
  disk_ = nullptr;
  const SourceSpec source{.path = At("vm.qcow2"), .name = "disk", .format = {}};
  ASSERT_TRUE(Open({source}));
  disk_ = catalog_->Find("disk");
  ASSERT_NE(disk_, nullptr);
  {
    const FrozenPoint point = Hold();
  }
  EXPECT_EQ(Shown(), (Names{"disk", "disk@backup-1"}));
  disk_ = nullptr;
  ASSERT_TRUE(Open({source}));
  EXPECT_EQ(Shown(), (Names{"disk", "disk@backup-1"}));
}

}  // namespace
}  // namespace chainfs
