// SPDX-License-Identifier: Apache-2.0
//
// Streams on real chains: whatever the form, the disk shows what it showed, the chain has the shape
// that was asked for, and qemu-img finds nothing wrong.
#include <atomic>
#include <fstream>

#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

using StreamTest = StreamFixture;

TEST_F(StreamTest, WithoutKeysTheChainBecomesOneLayer) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  Stream({.disk = "e"});
  EXPECT_EQ(ChainOf("e"), Words{"e.qcow2"});
  EXPECT_EQ(ChainOf("d").size(), 4u);
  EXPECT_TRUE(Records().empty());
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2"), Words{"e.qcow2"});
  ExpectAsRemembered("e.qcow2");
}

TEST_F(StreamTest, WithABaseTheBaseStays) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const uint64_t generation = Disk("e")->chain()->generation;
  Stream({.disk = "e", .base = "a.qcow2"});
  EXPECT_EQ(ChainOf("e"), (Words{"e.qcow2", "a.qcow2"}));
  const auto changes = Events("CHAIN_CHANGE");
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0]["disk"], "e");
  EXPECT_EQ(changes[0]["generation"], Disk("e")->chain()->generation);
  EXPECT_GT(Disk("e")->chain()->generation, generation);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2"), (Words{"e.qcow2", "a.qcow2"}));
  ExpectAsRemembered("e.qcow2");
  // What only the base had was not copied.
  const auto map = nlohmann::json::parse(Run({"qemu-img", "map", "--output=json", At("e.qcow2")}));
  EXPECT_EQ(map[0]["depth"], 1);
}

TEST_F(StreamTest, IntoAnIntermediateLayer) {
  MakeFive();
  Remember("e.qcow2");
  Remember("d.qcow2");
  OpenAll();
  Stream({.disk = "e", .top = "d.qcow2", .base = At("b.qcow2")});
  const Words shape = {"e.qcow2", "d.qcow2", "b.qcow2", "a.qcow2"};
  EXPECT_EQ(ChainOf("e"), shape);
  EXPECT_EQ(Events("CHAIN_CHANGE").size(), 2u) << "e and d";
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2"), shape);
  ExpectAsRemembered("e.qcow2");
  ExpectAsRemembered("d.qcow2");
}

TEST_F(StreamTest, ABaseDirectlyBelowLeavesNothingToDo) {
  MakeFive();
  OpenAll();
  Stream({.disk = "e", .base = "d.qcow2"});
  Stream({.disk = "e", .top = "a.qcow2"});
  EXPECT_EQ(ChainOf("e").size(), 5u);
  EXPECT_TRUE(Events("CHAIN_CHANGE").empty());
  EXPECT_EQ(Events("BLOCK_JOB_COMPLETED").size(), 2u);
  EXPECT_TRUE(Records().empty());
}

TEST_F(StreamTest, OnARawBase) {
  Create("a.raw", 4 * kMiB);
  Io("a.raw", {"write -P 1 0 4M", "write -P 0 1M 1M"});
  Create("b.qcow2", 6 * kMiB, "a.raw");
  Io("b.qcow2", {"write -P 2 100k 50k", "write -P 3 5M 64k"});
  Create("c.qcow2", 6 * kMiB, "b.qcow2");
  Create("c2.qcow2", 6 * kMiB, "b.qcow2");
  Remember("c.qcow2");
  Remember("c2.qcow2");
  OpenAll();
  Stream({.disk = "c", .base = "a.raw"});
  Stream({.disk = "c2"});
  CloseAll();
  EXPECT_EQ(ChainOnDisk("c.qcow2"), (Words{"c.qcow2", "a.raw"}));
  EXPECT_EQ(ChainOnDisk("c2.qcow2"), Words{"c2.qcow2"});
  ExpectAsRemembered("c.qcow2");
  ExpectAsRemembered("c2.qcow2");
}

TEST_F(StreamTest, AShorterLayerBetweenKeepsItsZerosOverALongerBase) {
  for (const char* compat : {"compat=1.1", "compat=0.10"}) {
    SCOPED_TRACE(compat);
    Create("a.qcow2", 8 * kMiB);
    Io("a.qcow2", {"write -P 1 0 8M"});
    Create("b.qcow2", 2 * kMiB + 512, "a.qcow2");
    Io("b.qcow2", {"write -z 1M 64k", "write -P 2 0 4k"});
    Create("c.qcow2", 6 * kMiB, "b.qcow2", compat);
    Io("c.qcow2", {"write -P 3 4M 100k"});
    Remember("c.qcow2");
    OpenAll();
    Stream({.disk = "c", .base = "a.qcow2"});
    CloseAll();
    EXPECT_EQ(ChainOnDisk("c.qcow2"), (Words{"c.qcow2", "a.qcow2"}));
    ExpectAsRemembered("c.qcow2");
  }
}

TEST_F(StreamTest, ZerosBetweenStayZeroClusters) {
  Create("a.qcow2", 8 * kMiB);
  Io("a.qcow2", {"write -P 1 0 8M"});
  Create("b.qcow2", 8 * kMiB, "a.qcow2");
  Io("b.qcow2", {"write -z 0 2M", "write -P 0 2M 2M"});
  Create("c.qcow2", 8 * kMiB, "b.qcow2");
  Remember("c.qcow2");
  OpenAll();
  Stream({.disk = "c", .base = "a.qcow2"});
  CloseAll();
  ExpectAsRemembered("c.qcow2");
  const auto map = nlohmann::json::parse(Run({"qemu-img", "map", "--output=json", At("c.qcow2")}));
  EXPECT_EQ(map[0]["depth"], 0);
  EXPECT_EQ(map[0]["zero"], true);
  EXPECT_GE(map[0]["length"], 2 * kMiB);
}

TEST_F(StreamTest, CompressedClustersAreUnpacked) {
  Create("plain.raw", 4 * kMiB);
  Io("plain.raw", {"write -P 7 0 3M", "write -P 9 100k 1M"});
  for (const char* kind : {"zlib", "zstd"}) {
    SCOPED_TRACE(kind);
    Run({"qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
         std::string("compression_type=") + kind, At("plain.raw"), At("a.qcow2")});
    Create("b.qcow2", 4 * kMiB, "a.qcow2");
    Io("b.qcow2", {"write -P 8 64k 64k"});
    Create("c.qcow2", 4 * kMiB, "b.qcow2");
    Remember("c.qcow2");
    OpenAll();
    Stream({.disk = "c"});
    CloseAll();
    ExpectAsRemembered("c.qcow2");
  }
}

TEST_F(StreamTest, LayersOfOtherClusterSizes) {
  for (const auto& [top, between] : {std::pair{512, 65536}, {65536, 512}, {2097152, 4096}}) {
    SCOPED_TRACE(testing::Message() << top << " over " << between);
    Create("a.qcow2", 5 * kMiB + 1536);
    Io("a.qcow2", {"write -P 1 1M 3M"});
    Create("b.qcow2", 5 * kMiB + 1536, "a.qcow2", "cluster_size=" + std::to_string(between));
    Io("b.qcow2", {"write -P 2 1000k 3k", "write -P 3 5M 1536", "write -z 2M 512"});
    Create("c.qcow2", 5 * kMiB + 1536, "b.qcow2", "cluster_size=" + std::to_string(top));
    Io("c.qcow2", {"write -P 4 1M 512"});
    Run({"cp", At("c.qcow2"), At("c2.qcow2")});
    Remember("c.qcow2");
    Remember("c2.qcow2");
    OpenAll();
    Stream({.disk = "c", .base = "a.qcow2"});
    Stream({.disk = "c2"});
    CloseAll();
    ExpectAsRemembered("c.qcow2");
    ExpectAsRemembered("c2.qcow2");
  }
}

TEST_F(StreamTest, TwoStreamsThatTouchOnlyAtABase) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string upper = Accepted({.disk = "e", .base = "c.qcow2", .speed = kMiB});
  const std::string lower = Accepted({.disk = "e", .top = "c.qcow2", .base = "a.qcow2"});
  EXPECT_FALSE(WaitEnd("e", lower).error.has_value());
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), upper, 0));
  EXPECT_FALSE(WaitEnd("e", upper).error.has_value());
  const Words shape = {"e.qcow2", "c.qcow2", "a.qcow2"};
  EXPECT_EQ(ChainOf("e"), shape);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("e.qcow2"), shape);
  ExpectAsRemembered("e.qcow2");
}

TEST_F(StreamTest, LinkedClonesAtOnce) {
  Create("a.qcow2", 8 * kMiB);
  Io("a.qcow2", {"write -P 1 0 8M"});
  Words names;
  for (int i = 0; i < 6; ++i) {
    names.push_back("clone" + std::to_string(i));
    Create(names.back() + ".qcow2", 8 * kMiB, "a.qcow2");
    Io(names.back() + ".qcow2", {"write -P " + std::to_string(i + 2) + " 1M 64k"});
    Remember(names.back() + ".qcow2");
  }
  OpenAll();
  Words ids;
  for (const std::string& name : names) ids.push_back(Accepted({.disk = name}));
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_FALSE(WaitEnd(names[i], ids[i]).error.has_value());
  }
  // The jobs' own stacks are gone, too.
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(Disk("a")->read_only()) << "a stream has left it out";
  ASSERT_TRUE(catalog_->AllowWriting(Disk("a")));
  EXPECT_FALSE(Disk("a")->read_only()) << "nobody is built on it any more";
  CloseAll();
  for (const std::string& name : names) {
    EXPECT_EQ(ChainOnDisk(name + ".qcow2").size(), 1u);
    ExpectAsRemembered(name + ".qcow2");
  }
}

// A guest that writes, zeroes, discards and reads while the stream runs.
class Guest {
 public:
  Guest(DiskPtr disk, std::vector<std::byte> model, Random random)
      : disk_(std::move(disk)), model_(std::move(model)), random_(random) {}

  void Step() {
    const uint64_t length = 512 * random_.Between(1, 200);
    const uint64_t at = 512 * random_.Below((model_.size() - length) / 512 + 1);
    const std::span<std::byte> here = std::span(model_).subspan(at, length);
    switch (random_.Below(6)) {
      case 0:
        ASSERT_TRUE(disk_->WriteZeroes(GuestOffset(at), length, random_.OneIn(2)));
        std::ranges::fill(here, std::byte{0});
        break;
      case 1: {
        // Whole clusters read as zeros; the rest stays or reads as zeros: ask which.
        ASSERT_TRUE(disk_->Discard(GuestOffset(at), length));
        std::vector<std::byte> now(length);
        ASSERT_TRUE(disk_->Read(GuestOffset(at), now));
        for (size_t i = 0; i < length; ++i) {
          ASSERT_TRUE(now[i] == here[i] || now[i] == std::byte{0}) << at + i;
        }
        std::ranges::copy(now, here.begin());
        break;
      }
      case 2: {
        std::vector<std::byte> now(length);
        ASSERT_EQ(disk_->Read(GuestOffset(at), now).value(), length);
        ASSERT_TRUE(std::ranges::equal(now, here)) << "at " << at << ", " << length << " bytes";
        break;
      }
      default:
        random_.Fill(here);
        ASSERT_TRUE(disk_->Write(GuestOffset(at), here));
    }
  }
  void CheckAll() {
    std::vector<std::byte> now(model_.size());
    ASSERT_EQ(disk_->Read(GuestOffset(0), now).value(), now.size());
    ASSERT_TRUE(now == model_);
  }
  const std::vector<std::byte>& model() const { return model_; }

 private:
  const DiskPtr disk_;
  std::vector<std::byte> model_;
  Random random_;
};

TEST_F(StreamTest, AGuestThatWritesMeanwhileSeesNoDifference) {
  for (const bool with_base : {false, true}) {
    MakeFive();
    OpenAll();
    const DiskPtr disk = Disk("e");
    std::vector<std::byte> contents(8 * kMiB);
    ASSERT_TRUE(disk->Read(GuestOffset(0), contents));
    Guest guest(disk, std::move(contents), Random(TestSeed()));
    StreamRequest request{.disk = "e", .speed = 64 * kMiB};
    if (with_base) request.base = "b.qcow2";
    const std::string id = Accepted(request);
    int steps = 0;
    while (jobs_->Find("e", id)->status != JobStatus::kConcluded || steps < 100) {
      guest.Step();
      if (HasFatalFailure()) return;
      ++steps;
    }
    EXPECT_FALSE(WaitEnd("e", id).error.has_value());
    guest.CheckAll();
    ASSERT_TRUE(disk->Flush());
    CloseAll();
    std::ofstream(At(".e.qcow2"), std::ios::binary)
        .write(reinterpret_cast<const char*>(guest.model().data()),
               static_cast<std::streamsize>(guest.model().size()));
    ExpectAsRemembered("e.qcow2");
    EXPECT_EQ(ChainOnDisk("e.qcow2").size(), with_base ? 3u : 1u);
  }
}

TEST_F(StreamTest, ADiskThatGrowsMeanwhileDoesNotShowTheBase) {
  Create("a.qcow2", 8 * kMiB);
  Io("a.qcow2", {"write -P 1 0 8M"});
  Create("b.qcow2", 2 * kMiB, "a.qcow2");
  Io("b.qcow2", {"write -P 2 0 1M"});
  Create("c.qcow2", 2 * kMiB, "b.qcow2");
  OpenAll();
  const std::string id = Accepted({.disk = "c", .base = "a.qcow2", .speed = 1});
  ASSERT_TRUE(Disk("c")->Grow(6 * kMiB));
  ASSERT_TRUE(jobs_->SetSpeed(Disk("c"), id, 0));
  EXPECT_FALSE(WaitEnd("c", id).error.has_value());
  CloseAll();
  ExpectSound("c.qcow2");
  Io("c.qcow2", {"read -P 2 0 1M", "read -P 1 1M 1M", "read -P 0 2M 4M"});
}

TEST_F(StreamTest, ASnapshotMeanwhileMovesTheDiskNotTheStream) {
  MakeFive();
  Remember("e.qcow2");
  OpenAll();
  const std::string id = Accepted({.disk = "e", .base = "a.qcow2", .speed = 1});
  Snapshot("e", {.target = "f.qcow2"});
  EXPECT_EQ(ChainOf("e").size(), 6u);
  ASSERT_TRUE(jobs_->SetSpeed(Disk("e"), id, 0));
  const JobInfo info = WaitEnd("e", id);
  EXPECT_FALSE(info.error.has_value()) << *info.error;
  const Words shape = {"f.qcow2", "e.qcow2", "a.qcow2"};
  EXPECT_EQ(ChainOf("e"), shape);
  CloseAll();
  EXPECT_EQ(ChainOnDisk("f.qcow2"), shape);
  ExpectAsRemembered("e.qcow2");
  ExpectSound("f.qcow2");
}

TEST_F(StreamTest, RandomChains) {
  Random random;
  for (int round = 0; round < 12; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    Words names;
    for (uint64_t depth = random.Between(2, 6), n = 0; n < depth; ++n) {
      const std::string below = names.empty() ? "" : names.back();
      const bool raw = n == 0 && random.OneIn(3);
      names.push_back("l" + std::to_string(n) + (raw ? ".raw" : ".qcow2"));
      std::string options;
      if (!raw) {
        options = random.OneIn(4) ? "compat=0.10," : "lazy_refcounts=on,";
        options += "cluster_size=" + std::to_string(512ull << random.Below(9));
      }
      Create(names.back(), 512 * random.Between(1000, 8000), below, options);
      Words writes;
      for (int i = 0; i < 8; ++i) {
        const uint64_t at = random.Below(700);
        const std::string where =
            std::to_string(512 * at) + " " + std::to_string(512 * random.Between(1, 300));
        writes.push_back(random.OneIn(4)
                             ? "write -z " + where
                             : "write -P " + std::to_string(random.Below(256)) + " " + where);
      }
      Io(names.back(), writes);
    }
    Remember(names.back());
    const uint64_t top = random.Between(1, names.size() - 1);
    const uint64_t base = random.Below(top + 1);  // top: none
    OpenAll();
    StreamRequest request{.disk = "l" + std::to_string(names.size() - 1), .top = names[top]};
    if (base < top) request.base = names[base];
    Stream(request);
    CloseAll();
    ExpectAsRemembered(names.back());
    ExpectSound(names[top]);
    for (const std::string& name : names) ASSERT_EQ(std::remove(At(name).c_str()), 0);
  }
}

}  // namespace
}  // namespace chainfs::jobs
