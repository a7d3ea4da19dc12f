// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/table_reader.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class TableReaderTest : public TableFixture {
 protected:
  void SetUp() override {
    Create();
    Open();
  }
};

TEST_F(TableReaderTest, ReadsTablesAndZeroesBehindTheFile) {
  const Result<std::vector<uint64_t>> table = ReadTable(*file_, HostOffset(kCluster), 64);
  ASSERT_TRUE(table);
  EXPECT_EQ((*table)[0], 2 * kCluster) << "the refcount block";
  const Result<std::vector<uint64_t>> behind = ReadTable(*file_, HostOffset(1 << 20), 10);
  ASSERT_TRUE(behind);
  EXPECT_EQ(*behind, std::vector<uint64_t>(10));
}

TEST_F(TableReaderTest, ReadsL2TablesWhole) {
  Put(10 * kCluster + 8 * 63, kEntryZero);
  const auto table = ReadL2Table(*file_, tables_->geometry, HostOffset(10 * kCluster));
  ASSERT_TRUE(table);
  EXPECT_EQ(table->size(), 64u);
  EXPECT_EQ(table->back(), tables_->geometry.l2().Zero());
}

TEST_F(TableReaderTest, VisitsEntriesInOrderUntilAnError) {
  constexpr uint64_t kAt = 100 * kCluster;
  for (const uint64_t index : {0u, 8191u, 8192u, 20000u}) Put(kAt + index * 8, index + 1);
  std::vector<uint64_t> seen;
  const auto visit = [&](uint64_t index, uint64_t entry) -> Status {
    EXPECT_EQ(entry, index + 1);
    seen.push_back(index);
    if (index == 8192) return Fail(ErrorKind::kCancelled, "enough");
    return {};
  };
  EXPECT_FALSE(ForEachL1Entry(*file_, HostOffset(kAt), 30000, visit));
  EXPECT_EQ(seen, (std::vector<uint64_t>{0, 8191, 8192}));
  seen.clear();
  EXPECT_TRUE(ForEachL1Entry(*file_, HostOffset(kAt), 8192, visit)) << "and no further";
  EXPECT_EQ(seen, (std::vector<uint64_t>{0, 8191}));
}

}  // namespace
}  // namespace chainfs::qcow2
