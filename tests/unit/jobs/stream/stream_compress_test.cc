// SPDX-License-Identifier: Apache-2.0
//
// Streams that compress, with qemu-img as the judge.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

class StreamCompressTest : public StreamFixture {
 protected:
  // a <- b <- c of text-like and of random data, odd in size; c has some of its own.
  void MakeThree(const std::string& options = "") {
    constexpr uint64_t kSize = 8 * kMiB + 512;
    Create("a.qcow2", kSize, "", options);
    Create("b.qcow2", kSize, "a.qcow2", options);
    Create("c.qcow2", kSize, "b.qcow2", options);
    std::ofstream noise(At("noise"), std::ios::binary);
    std::vector<std::byte> bytes(kMiB);
    random_.Fill(bytes);
    noise.write(reinterpret_cast<const char*>(bytes.data()), kMiB);
    noise.close();
    Io("a.qcow2", {"write -P 1 0 3M", "write -s " + At("noise") + " 3M 1M", "write -P 5 8M 512"});
    Io("b.qcow2", {"write -P 2 1M 1M", "write -P 3 5M 300k", "write -z 6M 1M"});
    Io("c.qcow2", {"write -P 4 1M 64k", "write -P 6 2100k 3k"});
    Remember("c.qcow2");
  }
  uint64_t CompressedClusters(const std::string& name) const {
    const auto report =
        nlohmann::json::parse(Run({"qemu-img", "check", "-f", "qcow2", "--output=json", At(name)}));
    return report.value("compressed-clusters", uint64_t{0});
  }
  uint64_t AllocatedBytes(const std::string& name) const {
    struct stat st = {};
    EXPECT_EQ(stat(At(name).c_str(), &st), 0);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }

  Random random_;
};

TEST_F(StreamCompressTest, QemuReadsWhatWasCompressed) {
  for (const std::string kind : {"zlib", "zstd"}) {
    for (const std::string cluster : {"512", "4k", "64k", "2M"}) {
      SCOPED_TRACE(kind + " " + cluster);
      MakeThree("compression_type=" + kind + ",cluster_size=" + cluster);
      OpenAll();
      Stream({.disk = "c", .compress = kind});
      CloseAll();
      EXPECT_EQ(ChainOnDisk("c.qcow2"), Words({"c.qcow2"}));
      ExpectAsRemembered("c.qcow2");
      EXPECT_GT(CompressedClusters("c.qcow2"), 0u);
      // Tables and what c held before fill whole clusters.
      if (cluster != "2M") {
        EXPECT_LT(AllocatedBytes("c.qcow2"), 4 * kMiB);
      }
    }
  }
}

TEST_F(StreamCompressTest, WithABaseAndAnotherStreamOnTop) {
  MakeThree();
  OpenAll();
  Snapshot("c", {.target = At("d.qcow2")});
  Stream({.disk = "c", .top = "c.qcow2", .base = "a.qcow2", .compress = "zlib"});
  EXPECT_EQ(ChainOf("c"), Words({"d.qcow2", "c.qcow2", "a.qcow2"}));
  // What is compressed is a source like any other.
  Stream({.disk = "c", .compress = "zlib"});
  CloseAll();
  EXPECT_EQ(ChainOnDisk("d.qcow2"), Words({"d.qcow2"}));
  Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", At("d.qcow2"), At(".c.qcow2")});
  ExpectAsRemembered("c.qcow2");
  ExpectSound("d.qcow2");
}

TEST_F(StreamCompressTest, AGuestGoesOnWriting) {
  MakeThree();
  OpenAll();
  DiskPtr disk = Disk("c");
  const std::string id = Accepted({.disk = "c", .speed = 64 << 10, .compress = "zlib"});
  std::vector<std::byte> shown(disk->size());
  ASSERT_TRUE(disk->Read(GuestOffset(0), shown));
  // Little enough that most of the disk is left for the job.
  for (int i = 0; i < 100; ++i) {
    std::vector<std::byte> data(random_.Between(1, 30'000));
    random_.Fill(data);
    const uint64_t at = random_.Below(shown.size() - data.size());
    ASSERT_TRUE(disk->Write(GuestOffset(at), data));
    std::ranges::copy(data, shown.begin() + static_cast<int64_t>(at));
  }
  ASSERT_TRUE(jobs_->SetSpeed(Disk("c"), id, 0));
  EXPECT_FALSE(WaitEnd("c", id).error);
  std::vector<std::byte> now(disk->size());
  ASSERT_TRUE(disk->Read(GuestOffset(0), now));
  EXPECT_TRUE(now == shown);
  disk = nullptr;
}

TEST_F(StreamCompressTest, AnImageOfAnotherKindIsRefused) {
  MakeThree();
  OpenAll();
  EXPECT_EQ(Refused({.disk = "c", .compress = "zstd"}).message,
            At("c.qcow2") +
                ": its clusters are compressed by zlib, not zstd; use compress=zlib, "
                "or an image that was created with compression_type=zstd");
  EXPECT_EQ(Refused({.disk = "c", .compress = "lz4"}).kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(Records().empty());
  Stream({.disk = "c", .compress = "none"});
  CloseAll();
  EXPECT_EQ(CompressedClusters("c.qcow2"), 0u);
  ExpectAsRemembered("c.qcow2");
}

TEST_F(StreamCompressTest, AJobThatIsTakenUpGoesOnCompressing) {
  MakeThree();
  OpenAll();
  const std::string id = Accepted({.disk = "c", .speed = 1 << 20, .compress = "zlib"});
  CloseAll();
  OpenAll();
  jobs_->ResumeRecorded();
  ASSERT_EQ(Records(), Words({"job-" + id}));
  WaitFor([&] { return jobs_->Find("c", id).has_value(); }, "the job again");
  ASSERT_TRUE(jobs_->SetSpeed(Disk("c"), id, 0));
  EXPECT_FALSE(WaitEnd("c", id).error);
  CloseAll();
  ExpectAsRemembered("c.qcow2");
  EXPECT_GT(CompressedClusters("c.qcow2"), 50u);
}

}  // namespace
}  // namespace chainfs::jobs
