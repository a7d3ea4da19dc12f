// SPDX-License-Identifier: Apache-2.0
//
// Every verb, carried out without a mount: who may give it, where, with what, and what it does.
#include "ctl/control/commands.h"

#include "ctl/verbs/verb_table.h"
#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

// vm <- mid <- base, and another disk.
class CommandsTest : public ControlTest {
 protected:
  void SetUp() override {
    Make("base.qcow2");
    Make("mid.qcow2", "base.qcow2");
    Make("vm.qcow2", "mid.qcow2");
    Make("other.qcow2");
    Open();
  }
  std::string Generation(const std::string& disk) {
    return std::to_string(Find(disk)->chain()->generation);
  }
};

TEST_F(CommandsTest, EveryVerbOfTheTableIsCarriedOut) {
  for (const verbs::Verb& verb : verbs::Verbs()) {
    EXPECT_TRUE(Commands::CarriesOut(verb.name)) << verb.name;
    EXPECT_FALSE(StatusAttributes::IsName(verb.name)) << verb.name;
  }
}

TEST_F(CommandsTest, UnknownOnesAndStatusNamesAreRefused) {
  EXPECT_EQ(Refused("vm", "strem"), ErrorKind::kUnsupported);
  EXPECT_NE(SentenceOf(Order("vm", "strem")).find("known are stream"), std::string::npos);
  EXPECT_EQ(Refused("vm", "info"), ErrorKind::kUnsupported);
  EXPECT_EQ(SentenceOf(Order("vm", "job.x")), "\"job.x\" can only be read");
}

TEST_F(CommandsTest, EachVerbHasItsScope) {
  for (const verbs::Verb& verb : verbs::Verbs()) {
    if (verb.scope == verbs::Scope::kDisk) {
      EXPECT_EQ(Refused("", verb.name), ErrorKind::kUnsupported) << verb.name;
      EXPECT_NE(SentenceOf(Order("", verb.name)).find("belongs on a disk"), std::string::npos);
    }
    if (verb.scope == verbs::Scope::kMount) {
      EXPECT_EQ(Refused("vm", verb.name), ErrorKind::kUnsupported) << verb.name;
    }
  }
}

TEST_F(CommandsTest, OnlyControllersMay) {
  const Caller stranger = {.uid = 7, .gid = 7};
  const Caller member = {.uid = 7, .gid = kControlGroup};
  const Caller daemon = {.uid = kDaemon, .gid = 7};
  for (const verbs::Verb& verb : verbs::Verbs()) {
    const std::string on = verb.scope == verbs::Scope::kMount ? "" : "vm";
    EXPECT_EQ(Refused(on, verb.name, "", stranger), ErrorKind::kPermission) << verb.name;
  }
  EXPECT_EQ(Refused("vm", "nonsense", "", stranger), ErrorKind::kPermission)
      << "a stranger does not learn which there are";
  EXPECT_TRUE(Order("vm", "flush", "", member));
  EXPECT_TRUE(Order("vm", "flush", "", daemon));
}

TEST_F(CommandsTest, OnlyRootNamesFilesOutsideTheSources) {
  const Caller member = {.uid = 7, .gid = kControlGroup};
  EXPECT_FALSE(Order("vm", "snapshot", "target=/elsewhere/new.qcow2,dry-run=yes", member));
  EXPECT_TRUE(Order("vm", "snapshot", "target=new.qcow2,dry-run=yes", member));
}

TEST_F(CommandsTest, MalformedValuesAreRefused) {
  for (const char* value : {"nonsense", "=", "bogus=1", "id=a,id=b", "speed=fast", "id=1x",
                            "id=", "on-error=panic", "delete=maybe", "generation=x", "dry-run=2"}) {
    EXPECT_EQ(Refused("vm", "stream", value), ErrorKind::kInvalidArgument) << value;
  }
  EXPECT_EQ(Refused("vm", "snapshot", "cluster_size=1000"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "stream", "compress=zstd"), ErrorKind::kUnsupported);
  EXPECT_TRUE(plane_->jobs.Jobs("").empty());
  EXPECT_EQ(Layers("vm").size(), 3u);
}

TEST_F(CommandsTest, AnotherGenerationIsRefusedEverywhere) {
  for (const verbs::Verb& verb : verbs::Verbs()) {
    if (verb.scope == verbs::Scope::kMount) continue;
    const std::string needed = verb.example.empty() ? "" : std::string(verb.example) + ",";
    EXPECT_EQ(Refused("vm", verb.name, needed + "generation=77"), ErrorKind::kStale) << verb.name;
  }
  EXPECT_EQ(Refused("vm", "stream", "base=nothing.qcow2,generation=77"), ErrorKind::kStale)
      << "that a layer is not there any more is no help";
  EXPECT_TRUE(Order("vm", "flush", "generation=" + Generation("vm")));
  EXPECT_EQ(Refused("", "flush", "generation=0"), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(Order("vm", "snapshot", "generation=" + Generation("vm")));
  EXPECT_EQ(Layers("vm").size(), 4u);
}

// What they say besides which job it is goes to the job.
TEST_F(CommandsTest, CompleteAndChangeReachTheJob) {
  ASSERT_TRUE(Order("vm", "stream", "id=s,speed=1"));
  EXPECT_EQ(Refused("vm", "complete", "id=s,then=pivot"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("", "change", "id=s,copy-mode=background"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "change", "id=s"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "complete", "id=t"), ErrorKind::kNoSuchJob);
  EXPECT_EQ(Refused("vm", "complete", "id=s,then=elsewhere"), ErrorKind::kInvalidArgument);
}

TEST_F(CommandsTest, ADryRunChangesNothing) {
  EXPECT_TRUE(Order("vm", "snapshot", "dry-run=yes"));
  EXPECT_TRUE(Order("vm", "revert", "to=base.qcow2,dry-run=yes"));
  EXPECT_TRUE(Order("", "release-events", "dry-run=yes"));
  EXPECT_TRUE(Order("vm", "flush", "dry-run=yes"));
  EXPECT_EQ(Layers("vm").size(), 3u);
  ASSERT_TRUE(Order("vm", "stream", "dry-run=yes,id=d"));
  WaitConcluded("vm", "d");
  EXPECT_TRUE(plane_->jobs.Find("vm", "d")->dry_run);
  EXPECT_EQ(Layers("vm").size(), 3u);
  EXPECT_TRUE(Events().empty() || std::ranges::none_of(Events(), [](const json& event) {
                return event["event"] == "CHAIN_CHANGE";
              }));
}

TEST_F(CommandsTest, StreamFlattens) {
  ASSERT_TRUE(Order("vm", "stream", "id=s,base=base.qcow2"));
  WaitConcluded("vm", "s");
  EXPECT_EQ(Layers("vm"), (Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(Refused("vm", "stream", "id=s"), ErrorKind::kExists);
  EXPECT_EQ(Refused("vm", "stream", "base=nothing.qcow2"), ErrorKind::kNotFound);
}

TEST_F(CommandsTest, AnOverlayIsMadeForWhatIsToBeCompressedInIt) {
  EXPECT_EQ(Refused("vm", "stream", "compress=zstd"), ErrorKind::kUnsupported);
  EXPECT_EQ(Refused("vm", "snapshot", "compression_type=lz4"), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(Order("vm", "snapshot", "compression_type=zstd"));
  EXPECT_EQ(Find("vm")->chain()->active->image->compression(), ImageCompression::kZstd);
  ASSERT_TRUE(Order("vm", "stream", "id=s,base=base.qcow2,compress=zstd"));
  WaitConcluded("vm", "s");
  EXPECT_EQ(Layers("vm").size(), 2u);
  ASSERT_TRUE(Order("", "snapshot", "disks=vm;other,compression_type=zstd"));
  EXPECT_EQ(Find("other")->chain()->active->image->compression(), ImageCompression::kZstd);
}

TEST_F(CommandsTest, AnOverlayHasSubclustersAsSaidOrLikeTheLayerThatItStandsOn) {
  const auto has = [&] { return Find("vm")->chain()->active->image->has_subclusters(); };
  EXPECT_EQ(Refused("vm", "snapshot", "extended_l2=on,cluster_size=8k,dry-run=yes"),
            ErrorKind::kInvalidArgument);
  ASSERT_TRUE(Order("vm", "snapshot"));
  EXPECT_FALSE(has());
  ASSERT_TRUE(Order("vm", "snapshot", "extended_l2=on"));
  EXPECT_TRUE(has());
  ASSERT_TRUE(Order("", "snapshot", "disks=vm;other"));
  EXPECT_TRUE(has()) << "as the one before";
  EXPECT_FALSE(Find("other")->chain()->active->image->has_subclusters());
  ASSERT_TRUE(Order("vm", "snapshot", "cluster_size=8k"));
  EXPECT_FALSE(has()) << "such clusters have none";
  ASSERT_TRUE(Order("vm", "snapshot", "extended_l2=on,cluster_size=16k"));
  EXPECT_TRUE(has());
  ASSERT_TRUE(Order("vm", "snapshot", "extended_l2=off"));
  EXPECT_FALSE(has());
}

TEST_F(CommandsTest, ASnapshotIsTakenOnTheDiskOrByNameOnTheMount) {
  ASSERT_TRUE(Order("vm", "snapshot", "target=new.qcow2,cluster_size=4k,lazy_refcounts=on"));
  EXPECT_EQ(Layers("vm").front(), "new.qcow2");
  EXPECT_EQ(Find("vm")->chain()->active->image->cluster_size(), 4096u);
  ASSERT_TRUE(Order("", "snapshot", "disks=other,id=s"));
  EXPECT_EQ(Layers("other").size(), 2u);
  EXPECT_EQ(plane_->jobs.Find("other", "s")->type, "snapshot");
  EXPECT_EQ(Refused("", "snapshot"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("", "snapshot", "disks=nobody"), ErrorKind::kNotFound);
  EXPECT_EQ(Refused("", "snapshot", "disks=vm;other,id=s2"), ErrorKind::kInvalidArgument);
  const size_t before = Layers("other").size();
  ASSERT_TRUE(Order("", "snapshot", "disks=vm;other"));
  EXPECT_EQ(Layers("other").size(), before + 1);
  EXPECT_EQ(Refused("vm", "snapshot", "disks=vm"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "snapshot", "target=other.qcow2"), ErrorKind::kExists);
}

TEST_F(CommandsTest, ARevertMustBeAgreedTo) {
  ASSERT_TRUE(Order("vm", "snapshot"));
  EXPECT_EQ(Refused("vm", "revert"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "revert", "to=vm.qcow2"), ErrorKind::kInvalidArgument);
  EXPECT_NE(SentenceOf(Order("vm", "revert", "to=vm.qcow2")).find("add yes=yes"),
            std::string::npos);
  EXPECT_EQ(Refused("vm", "revert", "to=nothing,yes=yes"), ErrorKind::kNotFound);
  EXPECT_EQ(Layers("vm").size(), 4u);
  ASSERT_TRUE(Order("vm", "revert", "to=vm.qcow2,yes=yes"));
  EXPECT_EQ(Layers("vm").size(), 3u);
}

TEST_F(CommandsTest, ADiskIsResized) {
  const DiskPtr disk = Find("vm");
  (void)shown_.Take();
  ASSERT_TRUE(Order("vm", "resize", "size=2M"));
  EXPECT_EQ(disk->size(), 2u << 20);
  EXPECT_EQ(shown_.Take(), Words{"a vm"});
  ASSERT_EQ(Events().size(), 1u);
  EXPECT_EQ(Events()[0]["event"], "DISK_RESIZE");
  EXPECT_EQ(Events()[0]["size"], 2u << 20);
  const std::string data(4096, 'x');
  ASSERT_TRUE(disk->Write(GuestOffset(3 << 19), std::as_bytes(std::span(data))));
  EXPECT_EQ(SentenceOf(Order("vm", "resize", "size=1M")),
            "vm: there is data at 1572864, which would be lost by shrinking from 2097152 to "
            "1048576 bytes; discard it, or say shrink=yes");
  EXPECT_EQ(Refused("vm", "resize", "size=1M,dry-run=yes"), ErrorKind::kInvalidArgument);
  EXPECT_TRUE(Order("vm", "resize", "size=1M,shrink=yes,dry-run=yes"));
  EXPECT_TRUE(Order("vm", "resize", "size=4M,dry-run=yes"));
  EXPECT_EQ(disk->size(), 2u << 20);
  EXPECT_TRUE(shown_.Take().empty());
  ASSERT_TRUE(Order("vm", "resize", "size=1M,shrink=yes"));
  EXPECT_EQ(disk->size(), 1u << 20);
  EXPECT_EQ(shown_.Take(), Words{"c vm"});
  ASSERT_TRUE(Order("vm", "resize", "size=512k")) << "nothing lies there";
  EXPECT_EQ(disk->size(), 512u << 10);
}

TEST_F(CommandsTest, BitmapsRecordBetweenCommands) {
  const DiskPtr disk = Find("vm");
  Image& active = *disk->chain()->active->image;
  EXPECT_EQ(Refused("vm", "bitmap", ""), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "bitmap", "add=b,remove=b"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "bitmap", "remove=b,disabled=yes"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "bitmap", "remove=b"), ErrorKind::kNotFound);
  ASSERT_TRUE(Order("vm", "bitmap", "add=b,dry-run=yes"));
  EXPECT_TRUE(active.Bitmaps()->empty());
  ASSERT_TRUE(Order("vm", "bitmap", "add=b,granularity=4k"));
  EXPECT_EQ(Refused("vm", "bitmap", "add=b"), ErrorKind::kExists);
  const std::string data(4096, 'x');
  ASSERT_TRUE(disk->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  ASSERT_EQ(active.Bitmaps()->size(), 1u);
  EXPECT_EQ(active.Bitmaps()->front().dirty_bytes, 4096u);
  ASSERT_TRUE(Order("vm", "bitmap", "clear=b"));
  EXPECT_EQ(active.Bitmaps()->front().dirty_bytes, 0u);
  ASSERT_TRUE(Order("vm", "bitmap", "disable=b"));
  EXPECT_FALSE(active.Bitmaps()->front().in_use) << "it is stored at once";
  ASSERT_TRUE(Order("vm", "bitmap", "enable=b"));
  ASSERT_TRUE(Order("vm", "bitmap", "remove=b"));
  EXPECT_TRUE(active.Bitmaps()->empty());
}

// "The end is empty" is not decided past somebody who has written there in memory.
TEST_F(CommandsTest, AnEndIsLookedAtWhenAllChangesAreThere) {
  EXPECT_TRUE(Order("vm", "resize", "size=2M"));
  EXPECT_TRUE(Order("vm", "resize", "size=1M,shrink=yes"));
  EXPECT_TRUE(shown_.TakenIn().empty()) << "nothing is decided by what is there";
  ASSERT_TRUE(Order("vm", "resize", "size=512k,dry-run=yes"));
  EXPECT_EQ(shown_.TakenIn(), std::vector<uint64_t>{512 << 10});
  shown_.KeepChanges(true);
  EXPECT_EQ(Refused("vm", "resize", "size=256k"), ErrorKind::kBusy);
  EXPECT_EQ(shown_.TakenIn(), std::vector<uint64_t>{256 << 10});
  EXPECT_EQ(Find("vm")->size(), kSize);
  EXPECT_TRUE(Order("vm", "resize", "size=256k,shrink=yes"));
  shown_.KeepChanges(false);
  EXPECT_TRUE(Order("vm", "resize", "size=128k"));
  EXPECT_EQ(Find("vm")->size(), 128u << 10);
}

TEST_F(CommandsTest, WhatIsNoSizeIsRefused) {
  for (const char* value : {"", "size=0", "size=100", "size=x", "size=8191P"}) {
    EXPECT_EQ(Refused("vm", "resize", value), ErrorKind::kInvalidArgument) << value;
  }
  EXPECT_EQ(Refused("mid", "resize", "size=2M"), ErrorKind::kReadOnly);
  EXPECT_EQ(Refused("mid", "resize", "size=2M,dry-run=yes"), ErrorKind::kReadOnly);
  Commands keeping(*catalog_, plane_->jobs, plane_->limits, plane_->traces,
                   CommandAccess(kDaemon, {}),
                   {.release_events = [] {}, .limits_changed = [] {}, .kernel_keeps_sizes = true});
  const Status kept = keeping.Execute("resize", "size=2M", Find("vm"), {});
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(Find("vm")->size(), kSize);
}

TEST_F(CommandsTest, ADiskIsNotResizedBesideAJob) {
  const std::string data(512 << 10, 'x');
  ASSERT_TRUE(Find("other")->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  ASSERT_TRUE(Order("other", "snapshot"));
  ASSERT_TRUE(Order("other", "stream", "id=s,speed=1"));
  EXPECT_EQ(Refused("other", "resize", "size=2M"), ErrorKind::kBusy);
  EXPECT_EQ(Find("other")->size(), kSize);
  ASSERT_TRUE(Order("other", "cancel"));
  WaitConcluded("other", "s");
  EXPECT_TRUE(Order("other", "resize", "size=2M"));
}

TEST_F(CommandsTest, FlushMakesDurable) {
  const std::string data(4096, 'x');
  const DiskPtr disk = Find("vm");
  ASSERT_TRUE(disk->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  EXPECT_TRUE(disk->NeedsFlush());
  ASSERT_TRUE(Order("vm", "flush"));
  EXPECT_FALSE(disk->NeedsFlush());
  ASSERT_TRUE(disk->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  ASSERT_TRUE(Order("", "flush"));
  EXPECT_FALSE(disk->NeedsFlush());
}

TEST_F(CommandsTest, ThawIsForLayersThatWereLeftOut) {
  EXPECT_EQ(Refused("other", "thaw"), ErrorKind::kInvalidArgument);
}

TEST_F(CommandsTest, JobVerbsNeedAJob) {
  for (const char* verb : {"cancel", "pause", "resume", "dismiss"}) {
    EXPECT_EQ(Refused("vm", verb), ErrorKind::kNoSuchJob) << verb;
    EXPECT_EQ(Refused("", verb, "id=nobody"), ErrorKind::kNoSuchJob) << verb;
  }
  EXPECT_EQ(Refused("vm", "speed", "limit=1M"), ErrorKind::kNoSuchJob);
  EXPECT_EQ(Refused("vm", "speed"), ErrorKind::kInvalidArgument);
}

TEST_F(CommandsTest, AJobIsPausedResumedCancelledAndDismissed) {
  // Something to copy, slowly.
  const std::string data(512 << 10, 'x');
  ASSERT_TRUE(Find("other")->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  ASSERT_TRUE(Order("other", "snapshot"));
  ASSERT_TRUE(Order("other", "stream", "id=s,speed=1"));
  ASSERT_TRUE(Order("other", "pause", "id=s"));
  const auto wait = [this](jobs::JobStatus wanted) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (plane_->jobs.Find("other", "s")->status != wanted) {
      ASSERT_LT(std::chrono::steady_clock::now(), guard);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  };
  wait(jobs::JobStatus::kPaused);
  EXPECT_EQ(Refused("other", "dismiss", "id=s"), ErrorKind::kInvalidArgument) << "it runs";
  ASSERT_TRUE(Order("other", "resume", "id=s"));
  ASSERT_TRUE(Order("", "speed", "limit=2,id=s"));
  EXPECT_EQ(plane_->jobs.Find("other", "s")->speed, 2u);
  ASSERT_TRUE(Order("other", "cancel"));
  WaitConcluded("other", "s");
  EXPECT_TRUE(plane_->jobs.Find("other", "s")->cancelled);
  ASSERT_TRUE(Order("other", "dismiss", "id=s"));
  EXPECT_FALSE(plane_->jobs.Find("other", "s"));
}

TEST_F(CommandsTest, EventReadersAreReleased) {
  (void)shown_.Take();
  ASSERT_TRUE(Order("", "release-events"));
  EXPECT_EQ(shown_.Take(), Words{"released"});
}

TEST_F(CommandsTest, AReadOnlyMountTakesNothingThatWrites) {
  CatalogOptions options;
  options.read_only = true;
  Open(options);
  EXPECT_EQ(Refused("vm", "stream"), ErrorKind::kReadOnly);
  EXPECT_EQ(Refused("vm", "snapshot"), ErrorKind::kReadOnly);
  EXPECT_TRUE(Order("vm", "stream", "dry-run=yes"));
}

}  // namespace
}  // namespace chainfs::control
