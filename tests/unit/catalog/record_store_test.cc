// SPDX-License-Identifier: Apache-2.0
//
// Records of disks: where they go, and what is left of them when their disk has gone.
#include "blocklayer/catalog/record_store.h"

#include <filesystem>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class RecordStoreTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("a.qcow2");
    ASSERT_TRUE(OpenAll());
  }
};

TEST_F(RecordStoreTest, ARecordIsMadeOnce) {
  const DiskPtr a = catalog_->Find("a");
  ASSERT_TRUE(catalog_->records().Create(*a, "job-1", "first"));
  const Status again = catalog_->records().Create(*a, "job-1", "second");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kExists);
  EXPECT_EQ(ReadTextFile(At(".chainfs/job-1")), "first");
}

TEST_F(RecordStoreTest, ARecordThatWasReadCanBeAskedForAndRemoved) {
  ASSERT_TRUE(catalog_->records().Write(*catalog_->Find("a"), "job-1", "text"));
  const auto read = catalog_->records().ReadAll("job-");
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 1u);
  EXPECT_TRUE(*catalog_->records().Has(read->front()));
  ASSERT_TRUE(catalog_->records().Remove(read->front()));
  EXPECT_FALSE(*catalog_->records().Has(read->front()));
  EXPECT_FALSE(*catalog_->records().Has({.source = "/nowhere", .name = "job-1", .contents = {}}));
}

TEST_F(RecordStoreTest, ARecordIsWrittenInPlace) {
  const DiskPtr a = catalog_->Find("a");
  EXPECT_EQ(catalog_->records().Open(*a, "map-1").error().kind, ErrorKind::kNotFound);
  ASSERT_TRUE(catalog_->records().Create(*a, "map-1", "first"));
  {
    const auto file = catalog_->records().Open(*a, "map-1");
    ASSERT_TRUE(file) << file.error().message;
    const std::string text = "F";
    ASSERT_TRUE((*file)->WriteAt(HostOffset(0), std::as_bytes(std::span(text))));
  }
  EXPECT_EQ(ReadTextFile(At(".chainfs/map-1")), "First");
  std::filesystem::create_hard_link(At(".chainfs/map-1"), At("other"));
  EXPECT_EQ(catalog_->records().Open(*a, "map-1").error().kind, ErrorKind::kPermission);
}

TEST_F(RecordStoreTest, ADiskThatHasGoneKeepsItsRecordsUntilItIsDestroyed) {
  DiskPtr a = catalog_->Find("a");
  std::filesystem::remove(At("a.qcow2"));
  RescanTwice();
  ASSERT_EQ(catalog_->Find("a"), nullptr);
  EXPECT_TRUE(catalog_->records().Write(*a, "job-1", "text"));
  EXPECT_TRUE(catalog_->records().Remove(*a, "job-1"));
  EXPECT_EQ(catalog_->records().disks(), 1u);
  a.reset();
  RescanTwice();
  EXPECT_EQ(catalog_->records().disks(), 0u);
}

TEST_F(RecordStoreTest, ADiskOfAnotherCatalogHasNoRecordsHere) {
  TempDir other;
  auto second = Catalog::Open({{.path = other.path()}}, {});
  ASSERT_TRUE(second);
  const DiskPtr a = catalog_->Find("a");
  EXPECT_EQ((*second)->records().Write(*a, "job-1", "x").error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE((*second)->records().Remove(*a, "job-1"));
}

}  // namespace
}  // namespace chainfs
