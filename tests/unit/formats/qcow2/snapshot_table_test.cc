// SPDX-License-Identifier: Apache-2.0
//
// Tables of internal snapshots that qemu-img would not write.
#include "blocklayer/formats/qcow2/snapshot_table.h"

#include <functional>

#include "blocklayer/formats/qcow2/metadata_extents.h"
#include "blocklayer/formats/qcow2/references.h"
#include "blocklayer/formats/qcow2/snapshot_list.h"
#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

struct RawSnapshot {
  uint64_t l1_offset = 5 * 512;
  uint32_t l1_entries = 32;
  std::string id = "1";
  std::string name = "one";
  std::vector<uint64_t> extra = {0, 1 << 20};
  std::optional<uint32_t> extra_bytes = {};  // what the entry claims, if not the truth
  std::optional<uint16_t> name_bytes = {};
};

class SnapshotTableTest : public TableFixture {
 protected:
  static constexpr uint64_t kTable = 8 * kCluster;

  void SetUp() override {
    Create();
    Open();
  }

  // The image has these, the table in cluster 8; the file ends 16 KiB behind it.
  void SetSnapshots(const std::vector<RawSnapshot>& snapshots, uint32_t count) {
    std::vector<std::byte> bytes(kTable + (16 << 10));
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    ASSERT_TRUE((*file)->ReadZeroFilled(HostOffset(0), bytes));
    StoreBigEndian(bytes.data() + kOffsetSnapshotCount, count);
    StoreBigEndian(bytes.data() + kOffsetSnapshots, kTable);
    uint64_t at = kTable;
    const auto text = [&](const std::string& value) {
      for (const char c : value) bytes[at++] = static_cast<std::byte>(c);
    };
    for (const RawSnapshot& snapshot : snapshots) {
      at = RoundUp(at, 8);
      std::byte* const entry = bytes.data() + at;
      StoreBigEndian(entry, snapshot.l1_offset);
      StoreBigEndian(entry + 8, snapshot.l1_entries);
      StoreBigEndian(entry + 12, static_cast<uint16_t>(snapshot.id.size()));
      StoreBigEndian(entry + 14,
                     snapshot.name_bytes.value_or(static_cast<uint16_t>(snapshot.name.size())));
      StoreBigEndian(entry + 16, uint32_t{1700000000});
      StoreBigEndian(entry + 36, snapshot.extra_bytes.value_or(
                                     static_cast<uint32_t>(snapshot.extra.size() * 8)));
      at += 40;
      for (const uint64_t word : snapshot.extra) {
        StoreBigEndian(bytes.data() + at, word);
        at += 8;
      }
      text(snapshot.id);
      text(snapshot.name);
    }
    ASSERT_TRUE((*file)->WriteAt(HostOffset(0), bytes));
  }

  Result<SnapshotList> Read() {
    Open();
    return SnapshotList::Read(*file_, tables_->header.header());
  }
  std::string WhatIsWrong(const RawSnapshot& snapshot) {
    SetSnapshots({snapshot}, 1);
    const Result<SnapshotList> list = Read();
    if (list) return "";
    EXPECT_EQ(list.error().kind, ErrorKind::kCorrupt);
    return list.error().message;
  }
};

TEST_F(SnapshotTableTest, EntriesAreRead) {
  SetSnapshots({{.name = "first"},
                {.l1_offset = 6 * kCluster, .id = "17", .name = "", .extra = {1 << 16}},
                {.l1_offset = 7 * kCluster, .l1_entries = 1, .name = "x", .extra = {}}},
               3);
  const Result<SnapshotList> list = Read();
  ASSERT_TRUE(list) << list.error().message;
  const ImageSnapshots& shown = list->shown();
  EXPECT_EQ(shown.count, 3u);
  EXPECT_FALSE(shown.all_state_their_size);
  ASSERT_EQ(shown.kept.size(), 3u);
  EXPECT_EQ(shown.kept[0].name, "first");
  EXPECT_EQ(shown.kept[0].made, 1700000000u);
  EXPECT_EQ(shown.kept[0].size, 1u << 20);
  EXPECT_EQ(shown.kept[1].id, "17");
  EXPECT_EQ(shown.kept[2].name, "x");
  EXPECT_EQ(shown.Describe(), "its 3 internal snapshots (\"first\", \"17\", \"x\")");
  EXPECT_FALSE(list->CheckResizable("a.qcow2"));
  EXPECT_TRUE(list->HeaderOf("a.qcow2", tables_->header.header(), 0));
  const auto too_small = list->HeaderOf("a.qcow2", tables_->header.header(), 2);
  ASSERT_FALSE(too_small);
  EXPECT_TRUE(too_small.error().message.contains("has 1 entries, but its size 1048576 needs 32"))
      << too_small.error().message;
}

TEST_F(SnapshotTableTest, BrokenOnesAreToldAsSuch) {
  EXPECT_EQ(WhatIsWrong({}), "");
  const auto says = [&](const RawSnapshot& snapshot, std::string_view what) {
    const std::string wrong = WhatIsWrong(snapshot);
    EXPECT_TRUE(wrong.contains(what)) << wrong;
    EXPECT_TRUE(wrong.contains("the table of internal snapshots is broken: entry 0")) << wrong;
  };
  says({.extra_bytes = 1025}, "extra data");
  says({.extra_bytes = UINT32_MAX}, "extra data");
  says({.name_bytes = UINT16_MAX}, "passes the end of the file");
  says({.l1_offset = 5 * kCluster + 8}, "impossible L1 table");
  says({.l1_offset = 0}, "impossible L1 table");
  says({.l1_offset = 1 << 20}, "impossible L1 table");
  says({.l1_offset = UINT64_MAX - 511}, "impossible L1 table");
  says({.l1_entries = 1 << 13}, "impossible L1 table");
  says({.l1_entries = (32 << 20) / 8 + 1}, "at most 32 MiB");
  says({.l1_entries = UINT32_MAX}, "at most 32 MiB");
}

TEST_F(SnapshotTableTest, ClaimedEntriesPastTheFileAreNotBelieved) {
  SetSnapshots({{}}, 65536);
  const Result<SnapshotList> list = Read();
  ASSERT_FALSE(list);
  EXPECT_EQ(list.error().kind, ErrorKind::kCorrupt);
}

TEST_F(SnapshotTableTest, LongNamesAreLeftOut) {
  SetSnapshots({{.id = std::string(300, 'i'), .name = std::string(256, 'n')}}, 1);
  const Result<SnapshotList> list = Read();
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->shown().kept[0].id, "");
  EXPECT_EQ(list->shown().kept[0].name, "");
}

TEST_F(SnapshotTableTest, TheirTablesAreMetadata) {
  SetSnapshots({{}, {.l1_offset = 6 * kCluster, .id = "2"}}, 2);
  Put(5 * kCluster, kEntryCopied | 20 * kCluster);
  Put(6 * kCluster, 20 * kCluster);
  Put(6 * kCluster + 8, 12 * kCluster);
  Put(3 * kCluster, 20 * kCluster);  // the disk shares it
  Open();
  uint64_t charged = 0;
  const auto inactive =
      FindInactiveL2Tables(*file_, tables_->header.header(), [&](uint64_t bytes) -> Status {
        charged = bytes;
        return {};
      });
  ASSERT_TRUE(inactive) << inactive.error().message;
  EXPECT_EQ(*inactive, (std::vector<uint64_t>{12 * kCluster, 20 * kCluster}));
  EXPECT_GE(charged, 16u);
  ASSERT_TRUE(inventory_->PrepareForWriting());
  for (const uint64_t cluster : {5u, 6u, 8u, 12u, 20u}) {
    EXPECT_TRUE(tables_->overlap.Holds(cluster, 1)) << cluster;
  }
  EXPECT_FALSE(tables_->overlap.Holds(13, 7));
  const auto references = References::Count(*file_, tables_->header.header(), {});
  ASSERT_TRUE(references) << references.error().message;
  EXPECT_EQ(references->count(20), 3u);
  EXPECT_EQ(references->count(12), 1u);
  EXPECT_EQ(references->count(8), 1u);
  EXPECT_EQ(references->problem_count(), 0u);
}

// It would be changed in place.
TEST_F(SnapshotTableTest, ATableThatIsOnlyAllegedlyTheDisksOwnRefusesChanges) {
  SetSnapshots({{}}, 1);
  Put(5 * kCluster, 20 * kCluster);
  Put(3 * kCluster, kEntryCopied | 20 * kCluster);
  Open();
  EXPECT_TRUE(inventory_->LearnEarly());
  EXPECT_TRUE(tables_->corruption.found());
  EXPECT_TRUE(tables_->corruption.reason().contains("a snapshot has its table, too"))
      << tables_->corruption.reason();
}

TEST_F(SnapshotTableTest, TablesOnOneAnotherRefuseChanges) {
  SetSnapshots({{}, {.id = "2"}}, 2);  // the same L1 table
  Open();
  EXPECT_TRUE(inventory_->LearnEarly());
  EXPECT_TRUE(tables_->corruption.found());
}

}  // namespace
}  // namespace chainfs::qcow2
