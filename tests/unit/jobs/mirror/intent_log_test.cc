// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/intent_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "blocklayer/catalog/catalog.h"
#include "blocklayer/formats/qcow2/create.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kRegion = 512;
constexpr uint64_t kRegions = 9000;  // three sectors of bits
constexpr uint64_t kDiskSize = kRegion * (kRegions - 1) + 100;

Result<std::unique_ptr<Catalog>> OpenOn(const std::shared_ptr<MemHost>& host) {
  CatalogOptions options;
  options.open_directory = [host](const std::string& /*path*/) {
    return Result<std::unique_ptr<Directory>>(host->OpenRoot());
  };
  return Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, options);
}

class IntentLogTest : public testing::Test {
 protected:
  IntentLogTest() {
    EXPECT_TRUE(CreateQcow2(*host_->OpenRoot(), "vm.qcow2", {.virtual_size = 1 << 20}));
    auto opened = OpenOn(host_);
    EXPECT_TRUE(opened);
    catalog_ = *std::move(opened);
    EXPECT_TRUE(IntentFile::Make(catalog_->records(), *catalog_->Find("vm"), "m", kHeader));
  }

  static constexpr IntentHeader kHeader{.state = IntentHeader::State::kMarked,
                                        .size = kDiskSize,
                                        .region = kRegion,
                                        .inode = 7,
                                        .born = -5,
                                        .made = true};

  static Result<std::unique_ptr<IntentFile>> OpenFile(Catalog& catalog) {
    return IntentFile::Open(catalog.records(), *catalog.Find("vm"), "m");
  }
  std::shared_ptr<IntentLog> Load(IntentLog::Bits bits = IntentLog::Bits::kCount) {
    auto file = OpenFile(*catalog_);
    EXPECT_TRUE(file) << file.error().message;
    auto log = IntentLog::Load(*std::move(file), bits, [this] { return Revoke(); });
    EXPECT_TRUE(log);
    return *std::move(log);
  }
  Status Revoke() {
    ++revoked_;
    return revocable_ ? Status() : Fail(ErrorKind::kIo, "cannot be revoked");
  }
  // All marks are taken back.
  static void Clear(IntentLog& log) {
    const auto chosen = log.BeginSweep([](uint64_t, uint64_t) { return true; });
    ASSERT_TRUE(log.EndSweep(chosen));
  }
  static std::set<uint64_t> MarkedIn(Catalog& catalog) {
    const auto file = OpenFile(catalog);
    EXPECT_TRUE(file) << file.error().message;
    const auto log =
        IntentLog::Load(*OpenFile(catalog), IntentLog::Bits::kCount, [] { return Status(); });
    std::set<uint64_t> regions;
    for (const ChunkRange& run : (*log)->Marked()) {
      for (uint64_t at = run.offset; at < run.offset + run.length; at += kRegion) {
        regions.insert(at / kRegion);
      }
    }
    return regions;
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  std::unique_ptr<Catalog> catalog_;
  bool revocable_ = true;
  std::atomic<int> revoked_ = 0;
};

TEST(IntentRegionSize, IsCoarseForLargeDisksAndNeverBelowTheUnit) {
  EXPECT_EQ(IntentRegionSize(0, 65536), 65536u);
  EXPECT_EQ(IntentRegionSize(0, 1), 512u) << "less is no region";
  EXPECT_EQ(IntentRegionSize(4096, 1), 512u);
  EXPECT_EQ(IntentRegionSize(32 << 10, 512), 512u);
  EXPECT_EQ(IntentRegionSize(64 << 20, 65536), 1u << 20);
  EXPECT_EQ(IntentRegionSize(10ull << 30, 65536), 1u << 20);
  EXPECT_EQ(IntentRegionSize(1ull << 40, 65536), 32u << 20);
  EXPECT_EQ(IntentRegionSize(1 << 20, 2 << 20), 2u << 20);
}

TEST_F(IntentLogTest, ANewFileHasEveryRegionMarked) {
  const auto log = Load();
  EXPECT_EQ(log->header(), kHeader);
  EXPECT_EQ(log->Marked(), (std::vector<ChunkRange>{{0, kDiskSize}}));
}

TEST_F(IntentLogTest, TheHeaderIsFoundAgain) {
  IntentHeader header = kHeader;
  header.state = IntentHeader::State::kKept;
  header.inode = UINT64_MAX;
  header.made = false;
  ASSERT_TRUE(Load()->WriteHeader(header));
  EXPECT_EQ(Load()->header(), header);
}

TEST_F(IntentLogTest, TheHeaderComesAfterTheMarks) {
  const auto all = std::vector<ChunkRange>{{0, kDiskSize}};
  Clear(*Load());
  EXPECT_TRUE(Load()->Marked().empty());
  auto log = Load(IntentLog::Bits::kAllSet);
  EXPECT_EQ(log->Marked(), all);
  EXPECT_TRUE(Load()->Marked().empty());
  ASSERT_TRUE(log->WriteHeader(kHeader));
  EXPECT_EQ(Load()->Marked(), all);
  ASSERT_TRUE(Load(IntentLog::Bits::kNoneSet)->WriteHeader(kHeader));
  EXPECT_TRUE(Load()->Marked().empty());
}

TEST_F(IntentLogTest, AFileThatMakesNoSenseIsRefused) {
  const auto text = [&](std::string_view contents) {
    EXPECT_TRUE(catalog_->records().Write(*catalog_->Find("vm"), "intent-m", contents));
    const auto opened = OpenFile(*catalog_);
    // kLoop stands for success.
    return opened ? ErrorKind::kLoop : opened.error().kind;
  };
  EXPECT_EQ(text(""), ErrorKind::kInvalidFormat);
  EXPECT_EQ(text("{}"), ErrorKind::kInvalidFormat);
  EXPECT_EQ(text(std::string(9000, 'x')), ErrorKind::kInvalidFormat);
  const std::string good =
      "{\"version\":2,\"state\":\"marked\",\"size\":\"1000\",\"region\":\"512\",\"inode\":\"1\","
      "\"born\":\"0\",\"made\":\"no\"}";
  EXPECT_EQ(text(good), ErrorKind::kInvalidFormat) << "the bits are missing";
  EXPECT_EQ(text(good + std::string(8192, '\n')), ErrorKind::kLoop);
  std::string bad = good;
  bad.replace(bad.find("512"), 3, "513");
  EXPECT_EQ(text(bad + std::string(8192, '\n')), ErrorKind::kInvalidFormat);
  bad.replace(bad.find("1000"), 4, "18446744073709551615");
  EXPECT_EQ(text(bad + std::string(8192, '\n')), ErrorKind::kInvalidFormat);
}

TEST_F(IntentLogTest, AMarkIsInTheFileBeforeTheWriteBegins) {
  const auto log = Load();
  Clear(*log);
  EXPECT_TRUE(MarkedIn(*catalog_).empty());
  ASSERT_TRUE(log->BeginWrite(kRegion * 4095 + 5, kRegion * 2));
  EXPECT_EQ(MarkedIn(*catalog_), (std::set<uint64_t>{4095, 4096, 4097}));
  log->EndWrite(kRegion * 4095 + 5, kRegion * 2);
  ASSERT_TRUE(log->BeginWrite(kDiskSize - 1, 100));
  log->EndWrite(kDiskSize - 1, 100);
  EXPECT_EQ(MarkedIn(*catalog_), (std::set<uint64_t>{4095, 4096, 4097, kRegions - 1}));
  ASSERT_TRUE(log->BeginWrite(kDiskSize, 100));
  log->EndWrite(kDiskSize, 100);
}

// What is marked already costs nothing.
TEST_F(IntentLogTest, AMarkedRegionIsNotWrittenAgain) {
  const auto log = Load();
  Clear(*log);
  ASSERT_TRUE(log->BeginWrite(0, 1));
  log->EndWrite(0, 1);
  host_->AddFault({.matches = &IsMutation, .skip = 0, .forever = true});
  EXPECT_TRUE(log->BeginWrite(1, kRegion - 1));
  log->EndWrite(1, kRegion - 1);
  EXPECT_EQ(revoked_, 0);
}

TEST_F(IntentLogTest, ASweepSparesWhatIsWrittenMeanwhile) {
  const auto log = Load();
  Clear(*log);
  for (const uint64_t region : {1u, 2u, 3u, 4u, 5u}) {
    ASSERT_TRUE(log->BeginWrite(region * kRegion, 1));
    if (region != 2) log->EndWrite(region * kRegion, 1);
  }
  log->Hold(5 * kRegion, 1);
  const auto chosen =
      log->BeginSweep([](uint64_t offset, uint64_t /*length*/) { return offset != kRegion; });
  // 1 is not copied yet, 2 is being written, 5 is held.
  EXPECT_EQ(chosen, (std::vector<uint64_t>{3, 4}));
  ASSERT_TRUE(log->BeginWrite(4 * kRegion, 1));
  log->EndWrite(4 * kRegion, 1);
  ASSERT_TRUE(log->EndSweep(chosen));
  EXPECT_EQ(MarkedIn(*catalog_), (std::set<uint64_t>{1, 2, 4, 5}));
  log->EndWrite(2 * kRegion, 1);
  Clear(*log);
  EXPECT_EQ(MarkedIn(*catalog_), (std::set<uint64_t>{5}));
}

TEST_F(IntentLogTest, ALogThatCannotBeWrittenIsRevoked) {
  const auto log = Load();
  Clear(*log);
  host_->AddFault({.matches = On(HostOp::kWrite), .skip = 0, .forever = true});
  EXPECT_TRUE(log->BeginWrite(0, 1));
  log->EndWrite(0, 1);
  EXPECT_EQ(revoked_, 1);
  EXPECT_TRUE(log->BeginWrite(kRegion, 1)) << "and nothing is noted any more";
  log->EndWrite(kRegion, 1);
  EXPECT_EQ(revoked_, 1);
  EXPECT_TRUE(log->BeginSweep([](uint64_t, uint64_t) { return true; }).empty());
}

TEST_F(IntentLogTest, AWriteFailsOnlyWhenItCanNeitherBeNotedNorTheLogRevoked) {
  const auto log = Load();
  Clear(*log);
  revocable_ = false;
  host_->AddFault({.matches = On(HostOp::kWrite), .skip = 0, .forever = true});
  EXPECT_FALSE(log->BeginWrite(0, 1));
  log->EndWrite(0, 1);
  EXPECT_FALSE(log->BeginWrite(0, 1)) << "the mark is still not durable";
  log->EndWrite(0, 1);
  host_->ClearFaults();
  EXPECT_TRUE(log->BeginWrite(0, 1));
  log->EndWrite(0, 1);
  EXPECT_EQ(MarkedIn(*catalog_), (std::set<uint64_t>{0}));
}

TEST_F(IntentLogTest, ManyWritersBesideSweepsLoseNoMark) {
  const auto log = Load();
  Clear(*log);
  std::atomic<bool> done = false;
  std::thread sweeper([&] {
    while (!done) Clear(*log);
  });
  std::vector<std::thread> writers;
  for (uint64_t t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      for (uint64_t i = 0; i < 200; ++i) {
        const uint64_t region = (t * 3001 + i * 7) % kRegions;
        ASSERT_TRUE(log->BeginWrite(region * kRegion, 1));
        // No sweep takes it back while the write is under way.
        ASSERT_TRUE(MarkedIn(*catalog_).contains(region));
        log->EndWrite(region * kRegion, 1);
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done = true;
  sweeper.join();
  Clear(*log);
  EXPECT_TRUE(MarkedIn(*catalog_).empty());
}

// Every crash point of a run of writes and sweeps: a write that had begun is marked.
TEST_F(IntentLogTest, EveryCrashStateMarksWhatHadBegun) {
  const auto log = Load();
  Clear(*log);
  host_->StartRecording();
  // By region: the first event at which it must be marked, and the one from which it need not be.
  struct Span {
    uint64_t region;
    uint64_t begin;
    uint64_t end;
  };
  std::vector<Span> spans;
  for (uint64_t i = 0; i < 12; ++i) {
    const uint64_t region = i * 997 % kRegions;
    ASSERT_TRUE(log->BeginWrite(region * kRegion, kRegion));
    spans.push_back({region, host_->Mark("begun"), UINT64_MAX});
    log->EndWrite(region * kRegion, kRegion);
    if (i % 4 != 3) continue;
    host_->Mark("swept");
    for (Span& span : spans) span.end = std::min(span.end, host_->EventCount());
    Clear(*log);
  }
  CrashEnumerator crash(host_->StopRecording(), {.max_states_per_point = 20});
  crash.ForEachState([&](const CrashState& state) {
    SCOPED_TRACE(state.Describe());
    const auto host = state.MakeHost();
    const auto catalog = OpenOn(host);
    EXPECT_TRUE(catalog);
    if (!catalog) return false;
    const std::set<uint64_t> marked = MarkedIn(**catalog);
    for (const Span& span : spans) {
      if (state.point > span.begin && state.point <= span.end) {
        EXPECT_TRUE(marked.contains(span.region)) << span.region;
      }
    }
    return !HasFailure();
  });
  EXPECT_GT(crash.visited(), 20u);
}

}  // namespace
}  // namespace chainfs::jobs
