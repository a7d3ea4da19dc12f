// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/refcount_table.h"

#include <gtest/gtest.h>

#include <memory>

#include "blocklayer/base/endian.h"
#include "tests/support/mem_host.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kEntries = 20000;  // more than one piece of a load

std::unique_ptr<File> NewFile() {
  Result<std::unique_ptr<File>> file = MemHost::Create()->OpenRoot()->Create("image", 0600);
  EXPECT_TRUE(file) << file.error().message;
  return std::move(*file);
}

std::vector<std::byte> OnDisk(uint64_t index, uint64_t entry) {
  std::vector<std::byte> raw(kEntries * 8);
  StoreBigEndian(raw.data() + index * 8, entry);
  return raw;
}

TEST(RefcountTable, HoldsNoMoreThanWhatIsInUse) {
  for (const uint64_t last : {0u, 8191u, 8192u, 19999u}) {
    const std::unique_ptr<File> file = NewFile();
    ASSERT_TRUE(file->WriteAt(HostOffset(512), OnDisk(last, 0x30000)));
    const Result<RefcountTable> table = RefcountTable::Load(*file, HostOffset(512), kEntries);
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(table->size(), kEntries);
    EXPECT_EQ(table->used().size(), last + 1);
    EXPECT_EQ((*table)[last], 0x30000u);
    EXPECT_EQ((*table)[last + 1], 0u);
    EXPECT_EQ(table->Encode(), OnDisk(last, 0x30000));
  }
}

TEST(RefcountTable, ReadsZerosPastTheEndOfTheFile) {
  const std::unique_ptr<File> file = NewFile();
  const Result<RefcountTable> table = RefcountTable::Load(*file, HostOffset(4096), kEntries);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->size(), kEntries);
  EXPECT_TRUE(table->used().empty());
  EXPECT_EQ(table->Encode(), std::vector<std::byte>(kEntries * 8));
}

TEST(RefcountTable, Grows) {
  RefcountTable table;
  table.Grow(8);
  table.Set(7, 0x10000);
  table.Grow(16);
  EXPECT_EQ(table[7], 0x10000u);
  EXPECT_EQ(table[15], 0u);
  EXPECT_EQ(table.Encode().size(), 16u * 8);
  table.Set(15, 0x20000);
  EXPECT_EQ(table[15], 0x20000u);
  EXPECT_EQ(table.used().size(), 16u);
}

}  // namespace
}  // namespace chainfs::qcow2
