// SPDX-License-Identifier: Apache-2.0
//
// Many threads on one image. Threads own interleaved sectors of the same clusters, so that first
// writes of one cluster meet; one discards and rewrites clusters while others read them, so that a
// cluster handed out too early would show a stranger's stamp (invariants Q2-3 and Q2-8). Meant for
// TSan as well.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/command.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"
#include "tests/support/stamp.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 4 << 20;
constexpr uint32_t kDisk = 9;

class Qcow2Concurrency : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const TempDir dir;
    const CommandResult made = RunCommand({"qemu-img", "create", "-q", "-f", "qcow2", "-o",
                                           GetParam(), dir / "a.qcow2", std::to_string(kSize)});
    ASSERT_TRUE(made.ok()) << made.Describe();
    ASSERT_TRUE(host_->ImportFrom(dir.path()));
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    auto image = OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
    ASSERT_TRUE(image) << image.error().message;
    image_ = *std::move(image);
  }

  Status ReadSector(uint64_t lba, std::span<std::byte> out) {
    const IoEpoch::Guard guard = image_->io_epoch().Enter();
    CHAINFS_ASSIGN(const Extent extent, image_->Map(GuestOffset(lba * 512), 512, MapDetail::kFast));
    if (extent.kind == ExtentKind::kData) return image_->file().ReadZeroFilled(extent.host, out);
    std::ranges::fill(out, std::byte{0});
    return {};
  }

  // Zero or a stamp of this very sector.
  void ExpectOwn(uint64_t lba) {
    std::array<std::byte, 512> sector;
    const Status read = ReadSector(lba, sector);
    ASSERT_TRUE(read) << read.error().message;
    if (IsZero(sector)) return;
    const auto stamp = ParseStamp(sector);
    ASSERT_TRUE(stamp) << "garbage in sector " << lba;
    ASSERT_EQ(stamp->lba, lba);
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{256 << 10};
  std::unique_ptr<WritableImage> image_;
};

TEST_P(Qcow2Concurrency, InterleavedSectorsKeepTheirOwnersValues) {
  constexpr uint64_t kThreads = 4;
  constexpr int kOperations = 1500;
  const uint64_t sectors = kSize / 512;
  std::vector<uint64_t> last(sectors);  // sequence, 0 for zeros; each element has one owner
  std::atomic<bool> done = false;
  Random seeds;
  {
    std::vector<std::jthread> threads;
    for (uint64_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, random = seeds.Fork()]() mutable {
        std::array<std::byte, 512> sector;
        for (int i = 1; i <= kOperations; ++i) {
          // Few clusters, so that threads meet.
          const uint64_t lba = random.Below(sectors / kThreads / 8) * kThreads + t;
          if (random.OneIn(5)) {
            ASSERT_TRUE(image_->WriteZeroes(GuestOffset(lba * 512), 512, true, nullptr));
            last[lba] = 0;
          } else {
            last[lba] = static_cast<uint64_t>(i);
            FillStamp({kDisk, lba, last[lba]}, sector);
            ASSERT_TRUE(image_->Write(GuestOffset(lba * 512), sector, nullptr));
          }
          ASSERT_TRUE(ReadSector(lba, sector));
          const auto stamp = ParseStamp(sector);
          ASSERT_EQ(stamp ? stamp->sequence : 0, last[lba]) << "sector " << lba;
        }
      });
    }
    std::jthread flusher([&] {
      while (!done.load()) ASSERT_TRUE(image_->Flush());
    });
    threads.clear();
    done.store(true);
  }
  ASSERT_TRUE(image_->Close());
  const auto report = CheckQcow2(image_->file());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
  EXPECT_EQ(report->leaks, 0u);
}

// A discard and nothing after it: flushes alone give the clusters back, at the latest the third.
TEST_P(Qcow2Concurrency, FlushesAloneGiveDiscardedClustersBack) {
  std::vector<std::byte> data(kSize, std::byte{0x61});
  EXPECT_FALSE(image_->HasPending());
  ASSERT_TRUE(image_->Write(GuestOffset(0), data, nullptr));
  while (image_->HasPending()) ASSERT_TRUE(image_->Flush());
  const uint64_t full = image_->AllocatedBytes().value();
  ASSERT_TRUE(image_->Discard(GuestOffset(0), kSize));
  std::optional<IoEpoch::Guard> reader(image_->io_epoch().Enter());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(image_->Flush());
  EXPECT_TRUE(image_->HasPending()) << "freed under a reader";
  EXPECT_EQ(image_->AllocatedBytes().value(), full);
  reader.reset();
  int flushes = 0;
  for (; image_->HasPending() && flushes < 10; ++flushes) ASSERT_TRUE(image_->Flush());
  EXPECT_LE(flushes, 3);
  EXPECT_LE(image_->AllocatedBytes().value(), full - kSize / 8 * 7);  // the host frees pages
  // As after a crash now: nothing is missing, nothing leaks.
  const auto report = CheckQcow2(image_->file());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->corruptions + report->leaks, 0u);
}

TEST_P(Qcow2Concurrency, ReusedClustersNeverShowThroughOldMappings) {
  const uint64_t sectors = kSize / 512;
  const uint64_t cluster_sectors = image_->cluster_size() / 512;
  std::atomic<bool> done = false;
  Random seeds;
  {
    std::vector<std::jthread> readers;
    for (int t = 0; t < 2; ++t) {
      readers.emplace_back([&, random = seeds.Fork()]() mutable {
        while (!done.load() && !HasFailure()) ExpectOwn(random.Below(sectors));
      });
    }
    std::vector<std::jthread> writers;
    for (int t = 0; t < 2; ++t) {
      writers.emplace_back([&, t, random = seeds.Fork()]() mutable {
        std::vector<std::byte> data(cluster_sectors * 512);
        for (int i = 1; i <= 300; ++i) {
          const uint64_t cluster =
              random.Below(sectors / cluster_sectors / 2) * 2 + static_cast<uint64_t>(t);
          const uint64_t lba = cluster * cluster_sectors;
          ASSERT_TRUE(image_->Discard(GuestOffset(lba * 512), data.size()));
          if (random.OneIn(2)) {
            ASSERT_TRUE(image_->Flush());
          }
          for (uint64_t s = 0; s < cluster_sectors; ++s) {
            FillStamp({kDisk, lba + s, static_cast<uint64_t>(i)},
                      std::span(data).subspan(s * 512, 512));
          }
          ASSERT_TRUE(image_->Write(GuestOffset(lba * 512), data, nullptr));
        }
      });
    }
    writers.clear();
    done.store(true);
  }
  ASSERT_TRUE(image_->Close());
  const auto report = CheckQcow2(image_->file());
  ASSERT_TRUE(report);
  EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
  EXPECT_EQ(report->leaks, 0u);
}

INSTANTIATE_TEST_SUITE_P(Options, Qcow2Concurrency,
                         ::testing::Values("cluster_size=512", "cluster_size=4k",
                                           "cluster_size=64k", "refcount_bits=1,cluster_size=8k",
                                           "extended_l2=on", "extended_l2=on,cluster_size=16k"));

}  // namespace
}  // namespace chainfs
