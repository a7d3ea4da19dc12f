// SPDX-License-Identifier: Apache-2.0
//
// Commits whose top is not the active layer: the disk shows what it showed, the chain has the shape
// that was asked for, base is what qemu-img makes of it.
#include <sys/stat.h>

#include <atomic>
#include <thread>

#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {
namespace {

using CommitTest = CommitFixture;

TEST_F(CommitTest, TheLayerAboveTopStandsOnBase) {
  MakeFive();
  Remember("e.qcow2");
  CopyAside({"a.qcow2", "b.qcow2", "c.qcow2", "d.qcow2"});
  Run({"qemu-img", "commit", "-q", "-d", "-b", "b.qcow2", Aside("d.qcow2")});
  OpenAll();
  Commit("e", "top=d.qcow2,base=b.qcow2");
  const Words shape = {"e.qcow2", "b.qcow2", "a.qcow2"};
  EXPECT_EQ(ChainOf("e"), shape);
  EXPECT_TRUE(Records().empty());
  EXPECT_EQ(Events("BLOCK_JOB_COMPLETED").size(), 1u);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2"), shape);
  ExpectAsRemembered("e.qcow2");
  ExpectSound("b.qcow2");
  ExpectSame(At("b.qcow2"), Aside("b.qcow2"));
}

TEST_F(CommitTest, IntoARawBase) {
  Create("a.raw", 4 * kMiB);
  Io("a.raw", {"write -P 1 0 4M"});
  Create("b.qcow2", 4 * kMiB, "a.raw");
  Io("b.qcow2", {"write -P 2 100k 50k", "write -z 2M 300k"});
  Create("c.qcow2", 4 * kMiB, "b.qcow2");
  Io("c.qcow2", {"write -P 3 130k 64k"});
  Remember("c.qcow2");
  CopyAside({"a.raw", "b.qcow2"});
  Run({"qemu-img", "commit", "-q", "-d", Aside("b.qcow2")});
  OpenAll();
  Commit("c", "top=b.qcow2,base=a.raw");
  CloseAll();
  EXPECT_EQ(ChainOnDisk("c.qcow2"), (Words{"c.qcow2", "a.raw"}));
  ExpectAsRemembered("c.qcow2");
  ExpectSame(At("a.raw"), Aside("a.raw"));
}

TEST_F(CommitTest, WhatBaseHasNotGotYetIsCompressed) {
  const auto compressed = [&](const std::string& name) {
    const auto report =
        nlohmann::json::parse(Run({"qemu-img", "check", "-f", "qcow2", "--output=json", At(name)}));
    return report.value("compressed-clusters", uint64_t{0});
  };
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  EXPECT_EQ(RefusedCommit("e", "top=d.qcow2,base=b.qcow2,compress=zstd").kind,
            ErrorKind::kUnsupported);
  Commit("e", "top=d.qcow2,base=b.qcow2,compress=zlib");
  const auto before = Contents("e");
  Commit("e", "base=a.qcow2,compress=zlib");
  EXPECT_EQ(ChainOf("e"), Words({"a.qcow2"}));
  EXPECT_TRUE(Contents("e") == before);
  CloseAll();
  EXPECT_GT(compressed("b.qcow2"), 16u);
  EXPECT_GT(compressed("a.qcow2"), 16u);
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("a.qcow2"), At(".e.qcow2")});
  ExpectSound("a.qcow2");
  ExpectSound("b.qcow2");
}

TEST_F(CommitTest, AShorterBaseIsEnlarged) {
  Create("z.qcow2", 6 * kMiB);
  Io("z.qcow2", {"write -P 9 0 6M"});
  for (const std::string base : {"a.qcow2", "a.raw"}) {
    SCOPED_TRACE(base);
    const std::string format = FormatOf(base);
    const std::string middle = "middle-" + format;
    const std::string top = "top-" + format;
    Create(base, 2 * kMiB + 512, format == "raw" ? "" : "z.qcow2");
    Io(base, {"write -P 1 1M 64k"});
    Create(middle + ".qcow2", 5 * kMiB, base);
    Io(middle + ".qcow2", {"write -P 2 4M 64k"});
    Create(top + ".qcow2", 5 * kMiB, middle + ".qcow2");
    Remember(top + ".qcow2");
    OpenAll();
    // Whose stack begins at the base, and is that of the shortened chain.
    const auto before = Contents(middle);
    Commit(top, "top=" + middle + ".qcow2,base=" + base);
    EXPECT_EQ(ChainOf(top)[1], base);
    EXPECT_TRUE(Contents(top) == before);
    CloseAll();
    ExpectAsRemembered(top + ".qcow2");
    ExpectSound(base);
  }
}

// What base has past the end of top, or of a layer between, must not come to light.
TEST_F(CommitTest, ALongerBaseKeepsWhatItHasAndDoesNotShowIt) {
  Create("a.qcow2", 8 * kMiB);
  Io("a.qcow2", {"write -P 1 0 8M"});
  Create("b.qcow2", 1 * kMiB + 512, "a.qcow2");
  Io("b.qcow2", {"write -P 2 0 4k"});
  Create("c.qcow2", 3 * kMiB + 1024, "b.qcow2");
  Io("c.qcow2", {"write -P 3 2M 100k"});
  Create("d.qcow2", 6 * kMiB + 512, "c.qcow2");
  Io("d.qcow2", {"write -P 4 5M 100k"});
  Remember("d.qcow2");
  OpenAll();
  Commit("d", "top=c.qcow2,base=a.qcow2");
  const DiskPtr disk = Disk("d");
  ASSERT_TRUE(disk->Grow(8 * kMiB));
  std::vector<std::byte> gained(8 * kMiB - (6 * kMiB + 512), std::byte{1});
  ASSERT_TRUE(disk->Read(GuestOffset(6 * kMiB + 512), gained));
  EXPECT_EQ(gained, std::vector<std::byte>(gained.size()));
  CloseAll();
  EXPECT_EQ(ChainOnDisk("d.qcow2"), (Words{"d.qcow2", "a.qcow2"}));
  Run({"qemu-img", "resize", "-q", "--shrink", At("d.qcow2"), std::to_string(6 * kMiB + 512)});
  ExpectAsRemembered("d.qcow2");
  Io("a.qcow2", {"read -P 1 " + std::to_string(3 * kMiB + 1024) + " 4M"});
}

TEST_F(CommitTest, ClustersOfDifferentSizes) {
  for (const char* sizes : {"512 2M 64k", "2M 512 4k", "64k 4k 1M"}) {
    SCOPED_TRACE(sizes);
    std::istringstream words(sizes);
    std::string base, middle, top;
    words >> base >> middle >> top;
    Create("a.qcow2", 6 * kMiB, "", "cluster_size=" + base);
    Io("a.qcow2", {"write -P 1 700k 3M"});
    Create("b.qcow2", 6 * kMiB, "a.qcow2", "cluster_size=" + middle);
    Io("b.qcow2", {"write -P 2 1000k 1k", "write -z 2M 100k"});
    Create("c.qcow2", 6 * kMiB, "b.qcow2", "cluster_size=" + top);
    Io("c.qcow2", {"write -P 3 1001k 1k", "write -P 4 5000k 3k"});
    Create("d.qcow2", 6 * kMiB, "c.qcow2");
    Remember("d.qcow2");
    OpenAll();
    Commit("d", "top=c.qcow2,base=a.qcow2");
    CloseAll();
    ExpectAsRemembered("d.qcow2");
    ExpectSound("a.qcow2");
  }
}

// Compressed clusters of base move when they are overwritten, while others read them.
TEST_F(CommitTest, ReadersOfACompressedBaseNoticeNothing) {
  Create("plain.qcow2", 16 * kMiB);
  Io("plain.qcow2", {"write -P 1 0 16M"});
  for (int i = 0; i < 64; ++i) {
    Io("plain.qcow2",
       {"write -P " + std::to_string(i + 2) + " " + std::to_string(i * 256) + "k 60k"});
  }
  Run({"qemu-img", "convert", "-c", "-O", "qcow2", At("plain.qcow2"), At("a.qcow2")});
  std::filesystem::remove(At("plain.qcow2"));
  Create("b.qcow2", 16 * kMiB, "a.qcow2", "cluster_size=4k");
  for (int i = 0; i < 48; ++i) {
    Io("b.qcow2",
       {"write -P " + std::to_string(200 - i) + " " + std::to_string(i * 300 + 5) + "k 7k"});
  }
  Create("c.qcow2", 16 * kMiB, "b.qcow2");
  Remember("c.qcow2");
  OpenAll();
  const auto expected = Contents("c");
  std::atomic<bool> stop = false;
  std::thread reader([&, disk = Disk("c")] {
    Random random;
    while (!stop) {
      const uint64_t at = random.Below(expected.size());
      std::vector<std::byte> read(
          std::min<uint64_t>(expected.size() - at, 1 + random.Below(90'000)));
      EXPECT_TRUE(disk->Read(GuestOffset(at), read));
      EXPECT_TRUE(std::ranges::equal(read, std::span(expected).subspan(at, read.size()))) << at;
    }
  });
  Commit("c", "top=b.qcow2,base=a.qcow2");
  stop = true;
  reader.join();
  EXPECT_EQ(Contents("c"), expected);
  CloseAll();
  ExpectAsRemembered("c.qcow2");
  ExpectSound("a.qcow2");
}

TEST_F(CommitTest, BeneathALayerThatIsFrozenItself) {
  MakeFive();
  Remember("e.qcow2");
  Remember("d.qcow2");
  OpenAll();
  Commit("e", "top=b.qcow2,base=a.qcow2");
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "d.qcow2", "c.qcow2", "a.qcow2"}));
  EXPECT_EQ(ChainOf("d"), (Words{"d.qcow2", "c.qcow2", "a.qcow2"}));
  EXPECT_FALSE(Disk("c")->read_only() == false) << "still frozen";
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  ExpectAsRemembered("d.qcow2");
}

TEST_F(CommitTest, SiblingsAreRefusedByName) {
  MakeFive();
  Create("clone.qcow2", 8 * kMiB, "c.qcow2");
  Create("far.snap1", 8 * kMiB, "b.qcow2");
  Remember("e.qcow2");
  Remember("clone.qcow2");
  OpenAll();
  const Error shared = RefusedCommit("e", "top=d.qcow2,base=b.qcow2");
  EXPECT_EQ(shared.kind, ErrorKind::kBusy);
  EXPECT_NE(shared.message.find("clone"), std::string::npos) << shared.message;
  const Error top_shared = RefusedCommit("e", "top=c.qcow2,base=b.qcow2");
  EXPECT_NE(top_shared.message.find("clone"), std::string::npos) << top_shared.message;
  const Error hidden = RefusedCommit("e", "top=b.qcow2,base=a.qcow2");
  EXPECT_NE(hidden.message.find("far.snap1"), std::string::npos) << hidden.message;
  EXPECT_TRUE(Records().empty());
  EXPECT_TRUE(Records("merged-").empty());
  // Those that are shortened with it do not count.
  EXPECT_EQ(ChainOf("clone").size(), 4u);
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  ExpectAsRemembered("clone.qcow2");
}

TEST_F(CommitTest, ClonesAboveAreShortenedTogether) {
  MakeFive();
  Create("clone.qcow2", 8 * kMiB, "d.qcow2");
  Remember("e.qcow2");
  Remember("clone.qcow2");
  OpenAll();
  Commit("e", "top=c.qcow2,base=a.qcow2");
  EXPECT_EQ(ChainOf("clone"), (Words{"clone.qcow2", "d.qcow2", "a.qcow2"}));
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  ExpectAsRemembered("clone.qcow2");
}

TEST_F(CommitTest, BadRequestsAreRefused) {
  MakeFive();
  Create("other.qcow2", 8 * kMiB);
  OpenAll();
  const auto refused = [&](const std::string& keys, ErrorKind kind, const char* words) {
    const Error error = RefusedCommit("e", keys);
    EXPECT_EQ(error.kind, kind) << error.message;
    EXPECT_NE(error.message.find(words), std::string::npos) << error.message;
  };
  refused("top=b.qcow2,base=d.qcow2", ErrorKind::kInvalidArgument, "is not below");
  refused("base=e.qcow2", ErrorKind::kInvalidArgument, "into itself");
  refused("top=c.qcow2,base=c.qcow2", ErrorKind::kInvalidArgument, "into itself");
  refused("base=other.qcow2", ErrorKind::kNotFound, "other.qcow2");
  refused("top=other.qcow2,base=a.qcow2", ErrorKind::kNotFound, "other.qcow2");
  refused("top=c.qcow2", ErrorKind::kInvalidArgument, "base");
  refused("base=a.qcow2,delete=perhaps", ErrorKind::kInvalidArgument, "delete");
  const Error read_only = RefusedCommit("d", "base=a.qcow2");
  EXPECT_NE(read_only.message.find("read-only"), std::string::npos) << read_only.message;
  EXPECT_EQ(ChainOf("e").size(), 5u);
  EXPECT_TRUE(Records().empty());
}

TEST_F(CommitTest, ABaseOutsideTheSourcesIsForRoot) {
  const TempDir other;
  Run({"qemu-img", "create", "-q", "-f", "qcow2", other / "base.qcow2", "1M"});
  Run({"qemu-img", "create", "-q", "-f", "qcow2", "-b", other / "base.qcow2", "-F", "qcow2",
       At("one.qcow2")});
  CatalogOptions options;
  options.backing_dirs = {other.path()};
  OpenAll(options);
  const Error refused = RefusedCommit("one", "base=base.qcow2");
  EXPECT_EQ(refused.kind, ErrorKind::kAccess);
  EXPECT_NE(refused.message.find("outside the source directories"), std::string::npos)
      << refused.message;
  const verbs::Verb* const verb = verbs::FindVerb(verbs::Verbs(), "commit");
  const auto arguments = verbs::Arguments::Parse("base=base.qcow2", verb->keys);
  ASSERT_TRUE(arguments);
  const auto id = jobs_->Start(
      {.type = "commit", .disk = Disk("one"), .arguments = *arguments, .privileged = true});
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_FALSE(WaitEnd("one", *id).error);
  EXPECT_EQ(ChainOf("one"), Words{"base.qcow2"});
}

TEST_F(CommitTest, NoTwoJobsOnOneLayer) {
  MakeFive();
  OpenAll();
  const std::string id = AcceptedCommit("e", "top=c.qcow2,base=b.qcow2,speed=64k");
  EXPECT_EQ(RefusedCommit("e", "top=d.qcow2,base=c.qcow2").kind, ErrorKind::kBusy);
  EXPECT_EQ(RefusedCommit("e", "top=b.qcow2,base=a.qcow2").kind, ErrorKind::kBusy);
  EXPECT_EQ(Refused({.disk = "e", .base = "a.qcow2"}).kind, ErrorKind::kBusy);
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  WaitEnd("e", id);
}

TEST_F(CommitTest, ADryRunSaysWhatWouldBeCopied) {
  MakeFive();
  OpenAll();
  const JobInfo dry = WaitEnd("e", AcceptedCommit("e", "top=d.qcow2,base=b.qcow2,dry-run=yes"));
  EXPECT_TRUE(Records("merged-").empty()) << "nothing was marked";
  EXPECT_EQ(ChainOf("e").size(), 5u);
  EXPECT_EQ(dry.unneeded, (Words{At("d.qcow2"), At("c.qcow2")}));
  const JobInfo done = Commit("e", "top=d.qcow2,base=b.qcow2");
  EXPECT_EQ(dry.total_progress, done.copied);
}

TEST_F(CommitTest, MergedLayersAreKeptEmptiedOrDeleted) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const JobInfo kept = Commit("e", "top=d.qcow2,base=c.qcow2");
  EXPECT_EQ(kept.unneeded, Words{At("d.qcow2")});
  EXPECT_TRUE(std::filesystem::exists(At("d.qcow2")));
  Snapshot("e", {.target = "f.qcow2"});
  const JobInfo removed = Commit("e", "top=e.qcow2,base=c.qcow2,delete=yes");
  EXPECT_EQ(removed.removed, Words{At("e.qcow2")});
  EXPECT_FALSE(std::filesystem::exists(At("e.qcow2")));
  const JobInfo emptied = Commit("e", "top=c.qcow2,base=a.qcow2,delete=empty");
  EXPECT_EQ(emptied.unneeded, (Words{At("c.qcow2"), At("b.qcow2")}));
  CloseAll();
  EXPECT_EQ(ChainOnDisk("f.qcow2"), (Words{"f.qcow2", "a.qcow2"}));
  for (const char* name : {"b.qcow2", "c.qcow2"}) {
    const auto map = nlohmann::json::parse(Run({"qemu-img", "map", "--output=json", At(name)}));
    for (const auto& extent : map) EXPECT_NE(extent["depth"], 0) << name << extent;
    ExpectSound(name);
    struct stat file = {};
    ASSERT_EQ(::stat(At(name).c_str(), &file), 0);
    EXPECT_LT(static_cast<uint64_t>(file.st_blocks) * 512, 1 * kMiB) << name;
  }
  Run({"qemu-img", "compare", "-F", "raw", At("f.qcow2"), At(".e.qcow2")});
}

TEST_F(CommitTest, WhatIsChangingSaysSo) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string id = AcceptedCommit("e", "top=d.qcow2,base=b.qcow2,speed=64k,id=merge-1");
  PauseAfterSome("e", id);
  EXPECT_FALSE(Records("merged-").empty());
  for (const char* disk : {"b", "c"}) {
    EXPECT_TRUE(Disk(disk)->read_only());
    EXPECT_NE(Disk(disk)->ReadOnlyReason().find("merge-1"), std::string::npos)
        << disk << ": " << Disk(disk)->ReadOnlyReason();
  }
  // One that ends before all is copied leaves a base that alone is not what it was.
  ASSERT_TRUE(jobs_->Cancel(Disk("e"), id));
  WaitEnd("e", id);
  EXPECT_EQ(ChainOf("e").size(), 5u);
  EXPECT_FALSE(Records("merged-").empty());
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  OpenAll();
  EXPECT_FALSE(Disk("e")->read_only());
  Commit("e", "top=d.qcow2,base=b.qcow2");
  CloseAll();
  ExpectAsRemembered("e.qcow2");
}

TEST_F(CommitTest, GoesOnAfterARestart) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string id = AcceptedCommit("e", "top=d.qcow2,base=b.qcow2,speed=64k,delete=yes");
  PauseAfterSome("e", id);
  CloseAll();
  ExpectAsRemembered("e.qcow2");
  OpenAll();
  jobs_->ResumeRecorded();
  WaitFor([&] { return jobs_->Find("e", id).has_value(); }, "the job again");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), id, 0));
  ASSERT_TRUE(jobs_->Resume(Disk("e"), id));
  const JobInfo info = WaitEnd("e", id);
  EXPECT_FALSE(info.error) << *info.error;
  EXPECT_EQ(info.removed, (Words{At("d.qcow2"), At("c.qcow2")}));
  EXPECT_TRUE(Records().empty());
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2"), (Words{"e.qcow2", "b.qcow2", "a.qcow2"}));
  ExpectAsRemembered("e.qcow2");
}

}  // namespace
}  // namespace chainfs::jobs
