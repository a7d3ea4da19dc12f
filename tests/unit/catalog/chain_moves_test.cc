// SPDX-License-Identifier: Apache-2.0
//
// ChainMoves: a disk in use goes on with a layer below its active one, or with an image that a job
// has filled; who is in the way of that; what becomes of the layers that it leaves.
#include "blocklayer/catalog/chain_moves.h"

#include <filesystem>
#include <utility>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

// base <- mid <- vm.
class ChainMovesTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("base.qcow2");
    MakeOverlay("mid.qcow2", "base.qcow2");
    MakeOverlay("vm.qcow2", "mid.qcow2");
    Start();
  }
  void TearDown() override { disk_ = nullptr; }

  void Start() {
    disk_ = nullptr;
    ASSERT_TRUE(OpenAll());
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
  }
  LayerPtr LayerAt(size_t index) const { return disk_->chain()->AllLayers().at(index); }
  // Everything that the disk shows is written into `to`.
  Status CopyInto(const LayerPtr& to) const {
    std::vector<std::byte> all(disk_->size());
    CHAINFS_TRY(disk_->Read(GuestOffset(0), all));
    return to->image->writer()->Write(GuestOffset(0), all, nullptr);
  }
  Result<LeftOutLayers> GoOnWith(const LayerPtr& to, bool remove_left = false) {
    ContinueRequest request;
    request.to = to;
    request.remove_left = remove_left;
    request.job = "commit-1";
    request.last_round = [this, to] { return CopyInto(to); };
    return catalog_->moves().ContinueOn(disk_, request);
  }
  Result<TargetImagePtr> Target(const std::string& name, bool create = true) {
    TargetRequest request;
    request.path = name;
    request.job = "mirror-1";
    request.format = name.ends_with(".raw") ? ImageFormat::kRaw : ImageFormat::kQcow2;
    if (create) request.create = TargetRequest::Create{.virtual_size = kSize};
    return catalog_->moves().OpenTarget(disk_, request);
  }
  std::string Record() const { return ReadTextFile(At(".chainfs/chain-vm")); }
  bool IsThere(std::string_view name) const { return std::filesystem::exists(At(name)); }

  DiskPtr disk_;
};

TEST_F(ChainMovesTest, ADiskInUseGoesOnWithItsBase) {
  Fill(disk_, 0, 4096, 'a');
  const std::optional<DiskAccess::Ticket> open = disk_->AdmitWriter();
  ASSERT_TRUE(open);
  const LayerPtr base = LayerAt(2);
  const Result<LeftOutLayers> moved = GoOnWith(base);
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(moved->unneeded, (Names{At("vm.qcow2"), At("mid.qcow2")}));
  EXPECT_EQ(moved->problem, "");
  EXPECT_EQ(disk_->chain()->active, base);
  EXPECT_FALSE(disk_->read_only());
  Fill(disk_, 4096, 4096, 'b');
  EXPECT_EQ(Peek(disk_, 4095, 2), "ab");
  EXPECT_EQ(catalog_->Find("vm"), disk_);
  EXPECT_EQ(Shown(), Names{"vm"});
  RescanTwice();
  EXPECT_EQ(Shown(), Names{"vm"});
  EXPECT_TRUE(catalog_->Broken().empty());
  EXPECT_TRUE(IsThere("mid.qcow2"));
}

TEST_F(ChainMovesTest, TheNextMountGoesOnWithIt) {
  Fill(disk_, 0, 4096, 'a');
  ASSERT_TRUE(GoOnWith(LayerAt(2)));
  Fill(disk_, 4096, 4096, 'b');
  EXPECT_NE(Record().find("\"active\": \"base.qcow2\""), std::string::npos) << Record();
  EXPECT_EQ(Record().find("stale"), std::string::npos) << "they are marked by now";
  Start();
  EXPECT_EQ(Shown(), Names{"vm"});
  EXPECT_FALSE(disk_->read_only()) << NoteOf("vm");
  EXPECT_EQ(Peek(disk_, 4095, 2), "ab");
  EXPECT_EQ(disk_->chain()->depth(), 1u);
  disk_ = nullptr;
  catalog_.reset();
  const CommandResult check = RunCommand({"qemu-img", "check", "-q", At("base.qcow2")});
  EXPECT_TRUE(check.ok()) << check.Describe();
}

TEST_F(ChainMovesTest, ASnapshotIsTakenOfItAndItGoesBackOnceMore) {
  ASSERT_TRUE(GoOnWith(LayerAt(1)));
  Fill(disk_, 0, 4096, 'a');
  ASSERT_TRUE(catalog_->Snapshot(disk_, {}));
  Fill(disk_, 4096, 4096, 'b');
  const Result<LeftOutLayers> moved = GoOnWith(LayerAt(2));
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(Peek(disk_, 4095, 2), "ab");
  Start();
  EXPECT_EQ(Peek(disk_, 4095, 2), "ab");
  EXPECT_EQ(Shown(), Names{"vm"});
}

TEST_F(ChainMovesTest, AnImageThatIsASourceIsFollowed) {
  disk_ = nullptr;
  const SourceSpec source{.path = At("vm.qcow2"), .name = "disk", .format = {}};
  ASSERT_TRUE(Open({source}));
  disk_ = catalog_->Find("disk");
  Fill(disk_, 0, 4096, 'a');
  const Result<LeftOutLayers> moved = GoOnWith(LayerAt(2));
  ASSERT_TRUE(moved) << moved.error().message;
  disk_ = nullptr;
  ASSERT_TRUE(Open({source}));
  disk_ = catalog_->Find("disk");
  ASSERT_NE(disk_, nullptr);
  EXPECT_EQ(disk_->chain()->active->path, At("base.qcow2"));
  EXPECT_FALSE(disk_->read_only()) << NoteOf("disk");
  EXPECT_EQ(Peek(disk_, 0, 1), "a");
}

TEST_F(ChainMovesTest, WhatItLeavesIsRemovedWhenAsked) {
  const Result<LeftOutLayers> moved = GoOnWith(LayerAt(2), true);
  ASSERT_TRUE(moved) << moved.error().message;
  EXPECT_EQ(moved->removed, (Names{At("vm.qcow2"), At("mid.qcow2")}));
  EXPECT_FALSE(IsThere("vm.qcow2"));
  EXPECT_FALSE(IsThere("mid.qcow2"));
  Start();
  EXPECT_EQ(Shown(), Names{"vm"});
}

TEST_F(ChainMovesTest, WhatItLeavesIsInTheReportAsNeededByNobodyAndStaysAsItIs) {
  ASSERT_TRUE(GoOnWith(LayerAt(2)));
  bool listed = false;
  for (const LayerReport& layer : catalog_->LayersReport()) {
    if (layer.path != At("mid.qcow2")) continue;
    listed = true;
    EXPECT_FALSE(layer.needed);
    EXPECT_EQ(layer.reason, "merged into " + At("base.qcow2"));
  }
  EXPECT_TRUE(listed);
}

TEST_F(ChainMovesTest, NobodyElseMayBeBuiltOnIt) {
  MakeOverlay("clone.qcow2", "mid.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  const Result<LeftOutLayers> moved = GoOnWith(LayerAt(2));
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().kind, ErrorKind::kBusy);
  EXPECT_NE(moved.error().message.find("clone is built on it"), std::string::npos)
      << moved.error().message;
  EXPECT_EQ(disk_->chain()->depth(), 3u);
  Fill(disk_, 0, 512, 'x');
  EXPECT_FALSE(IsThere(".chainfs/chain-vm"));
}

TEST_F(ChainMovesTest, AnOverlayOfAnotherNameCountsToo) {
  MakeOverlay("base.snap1", "base.qcow2");
  const Result<LeftOutLayers> moved = GoOnWith(LayerAt(2));
  ASSERT_FALSE(moved);
  EXPECT_NE(moved.error().message.find("base.snap1"), std::string::npos) << moved.error().message;
}

TEST_F(ChainMovesTest, WhenTheLastRoundFailsNothingHasChanged) {
  Fill(disk_, 0, 512, 'x');
  ContinueRequest request;
  request.to = LayerAt(2);
  request.last_round = []() -> Status { return Fail(ErrorKind::kNoSpace, "no room"); };
  const Result<LeftOutLayers> moved = catalog_->moves().ContinueOn(disk_, request);
  ASSERT_FALSE(moved);
  EXPECT_EQ(moved.error().message, "no room");
  EXPECT_FALSE(IsThere(".chainfs/chain-vm"));
  Fill(disk_, 512, 512, 'y');
  EXPECT_EQ(Peek(disk_, 511, 2), "xy");
  EXPECT_TRUE(catalog_->Find("base")->read_only());
  EXPECT_TRUE(GoOnWith(LayerAt(2)));
}

TEST_F(ChainMovesTest, WhatIsNoLayerBelowIsRefused) {
  EXPECT_EQ(GoOnWith(LayerAt(0)).error().kind, ErrorKind::kInvalidArgument);
  const DiskPtr base = catalog_->Find("base");
  ContinueRequest request;
  request.to = LayerAt(2);
  request.last_round = []() -> Status { return {}; };
  EXPECT_EQ(catalog_->moves().ContinueOn(base, request).error().kind, ErrorKind::kReadOnly);
}

TEST_F(ChainMovesTest, UsersAreThoseThatContainALayerAndNotWhatIsWhole) {
  MakeOverlay("onmid.qcow2", "mid.qcow2");
  MakeOverlay("onbase.qcow2", "base.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  ChainMoves& moves = catalog_->moves();
  // A commit of mid into base leaves right what contains mid.
  EXPECT_EQ(moves.UsersOf(disk_, *LayerAt(2), *LayerAt(1), "commit-1").value(),
            Names{"onbase is built on it"});
  // One of vm does not.
  EXPECT_EQ(moves.UsersOf(disk_, *LayerAt(2), *LayerAt(0), "commit-1").value(),
            (Names{"onbase is built on it", "onmid is built on it"}));
  EXPECT_EQ(moves.UsersOf(disk_, *LayerAt(1), *LayerAt(0), "commit-1").value(),
            Names{"onmid is built on it"});
}

TEST_F(ChainMovesTest, TheRecordsOfOtherJobsCount) {
  const std::string text = "{\"base\": \"" + At("base.qcow2") + "\"}";
  ASSERT_TRUE(catalog_->records().Write(*disk_, "job-other", text));
  ChainMoves& moves = catalog_->moves();
  EXPECT_EQ(moves.UsersOf(disk_, *LayerAt(2), *LayerAt(0), "commit-1").value(),
            Names{"the record job-other names it"});
  EXPECT_EQ(moves.UsersOf(disk_, *LayerAt(2), *LayerAt(0), "other").value(), Names{});
}

TEST_F(ChainMovesTest, WhatIsChangingSaysSoAndNothingElseIsBuiltOnIt) {
  ChainMoves& moves = catalog_->moves();
  ASSERT_TRUE(moves.MarkChanging(*disk_, {LayerAt(2)}, *LayerAt(1), "commit-1"));
  EXPECT_NE(NoteOf("base").find("commit-1 writes to what it shows"), std::string::npos)
      << NoteOf("base");
  MakeOverlay("onbase.qcow2", "base.qcow2");
  MakeOverlay("onmid.qcow2", "mid.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("onmid"), nullptr) << "what it shows stays right";
  EXPECT_EQ(BrokenError("onbase").kind, ErrorKind::kBusy) << BrokenError("onbase").message;
  // The next mount knows.
  Start();
  EXPECT_NE(NoteOf("base").find("commit-1 writes to what it shows"), std::string::npos);
  EXPECT_EQ(BrokenError("onbase").kind, ErrorKind::kBusy);
  EXPECT_FALSE(disk_->read_only());
  ASSERT_TRUE(catalog_->moves().UnmarkChanging({LayerAt(2)}));
  EXPECT_EQ(NoteOf("base").find("commit-1"), std::string::npos);
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_NE(catalog_->Find("onbase"), nullptr);
}

TEST_F(ChainMovesTest, WhatACommitLeavesOutBetweenItsEndsHasChangedForGood) {
  // vm <- mid <- base: mid is between the ends of a commit of vm into base that has put a new name
  // into nobody's header yet.
  ChainMoves& moves = catalog_->moves();
  const Layers mid{LayerAt(1)};
  ASSERT_TRUE(moves.MarkChanging(*disk_, {LayerAt(1), LayerAt(2)}, *LayerAt(0), "commit-1"));
  ASSERT_TRUE(catalog_->MarkLeftOut(*disk_, *LayerAt(2), mid));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(catalog_->Find("mid"), nullptr);
  EXPECT_NE(catalog_->Find("vm"), nullptr);
  EXPECT_TRUE(catalog_->Broken().empty());
}

TEST_F(ChainMovesTest, ATargetIsNotShownUntilItIsComplete) {
  {
    const Result<TargetImagePtr> target = Target("copy.qcow2");
    ASSERT_TRUE(target) << target.error().message;
    EXPECT_TRUE((*target)->image()->image->writable());
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_EQ(catalog_->Find("copy"), nullptr);
    EXPECT_TRUE(catalog_->Broken().empty());
    EXPECT_FALSE(RunCommand({"qemu-img", "check", "-q", At("copy.qcow2")}).ok()) << "it is locked";
  }
  Start();
  EXPECT_EQ(catalog_->Find("copy"), nullptr) << "the job has not finished";
  EXPECT_EQ(Target("copy.qcow2").error().kind, ErrorKind::kExists);
  {
    const Result<TargetImagePtr> again = Target("copy.qcow2", false);
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_TRUE((*again)->Finish());
    ASSERT_TRUE(catalog_->Rescan());
    EXPECT_NE(catalog_->Find("copy"), nullptr) << BrokenError("copy").message;
  }
  Start();
  EXPECT_NE(catalog_->Find("copy"), nullptr);
}

TEST_F(ChainMovesTest, ATargetThatIsGivenUpIsRemoved) {
  const Result<TargetImagePtr> target = Target("copy.raw");
  ASSERT_TRUE(target) << target.error().message;
  ASSERT_TRUE((*target)->Remove());
  EXPECT_FALSE(IsThere("copy.raw"));
}

TEST_F(ChainMovesTest, WhatSomebodyUsesIsNoTarget) {
  for (const char* name : {"vm.qcow2", "mid.qcow2", "base.qcow2"}) {
    const Result<TargetImagePtr> target = Target(name, false);
    ASSERT_FALSE(target) << name;
    EXPECT_EQ(target.error().kind, ErrorKind::kBusy) << target.error().message;
  }
  MakeQcow2("other.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  {
    const DiskPtr other = catalog_->Find("other");
    const DiskAccess::Ticket reader = other->access().CountReader();
    EXPECT_EQ(Target("other.qcow2", false).error().kind, ErrorKind::kBusy);
  }
  EXPECT_EQ(Target("none.qcow2", false).error().kind, ErrorKind::kNotFound);
  const Result<TargetImagePtr> free = Target("other.qcow2", false);
  ASSERT_TRUE(free) << free.error().message;
  EXPECT_EQ(catalog_->Find("other"), nullptr);
}

TEST_F(ChainMovesTest, ADiskGoesOnWithATarget) {
  Fill(disk_, 0, 4096, 'a');
  {
    const TargetImagePtr target = Target("copy.qcow2").value();
    ContinueRequest request;
    request.target = target;
    request.job = "mirror-1";
    request.last_round = [&] { return CopyInto(target->image()); };
    const Result<LeftOutLayers> moved = catalog_->moves().ContinueOn(disk_, request);
    ASSERT_TRUE(moved) << moved.error().message;
    EXPECT_EQ(moved->problem, "");
    Fill(disk_, 4096, 4096, 'b');
  }
  Fill(disk_, 8192, 4096, 'c');
  EXPECT_EQ(Peek(disk_, 4095, 2), "ab");
  EXPECT_EQ(disk_->chain()->active->path, At("copy.qcow2"));
  EXPECT_FALSE(RunCommand({"qemu-img", "check", "-q", At("copy.qcow2")}).ok()) << "it is locked";
  Start();
  EXPECT_EQ(disk_->chain()->active->path, At("copy.qcow2"));
  EXPECT_EQ(Peek(disk_, 4095, 2), "ab");
  EXPECT_FALSE(disk_->read_only());
  // What was active before is a disk that says what became of it.
  const DiskPtr before = catalog_->Find("vm.qcow2");
  ASSERT_NE(before, nullptr);
  EXPECT_TRUE(before->read_only());
  EXPECT_NE(NoteOf("vm.qcow2").find("mirror-1"), std::string::npos) << NoteOf("vm.qcow2");
  EXPECT_TRUE(catalog_->AllowWriting(before));
}

}  // namespace
}  // namespace chainfs
