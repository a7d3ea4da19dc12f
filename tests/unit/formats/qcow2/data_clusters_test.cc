// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/data_clusters.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class DataClustersTest : public TableFixture {
 protected:
  void SetUp() override {
    Make();
    clusters_ = std::make_unique<DataClusters>(*tables_);
  }
  std::unique_ptr<DataClusters> clusters_;
};

TEST_F(DataClustersTest, HandsOutAndTakesBack) {
  const Result<ClusterRun> run = clusters_->Allocate(GuestOffset(0), 5);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->first, kFirstFree);
  clusters_->ReleaseUnlinked(*run);
  EXPECT_EQ(clusters_->Allocate(GuestOffset(0), 1)->first, kFirstFree);
}

// Q2-6.
TEST_F(DataClustersTest, MetadataIsNeverWritten) {
  for (uint64_t cluster = 0; cluster < kFirstFree; ++cluster) {
    const Status checked = clusters_->Check(GuestOffset(0), cluster, 1);
    ASSERT_FALSE(checked) << cluster;
    EXPECT_EQ(checked.error().kind, ErrorKind::kCorrupt);
  }
  EXPECT_FALSE(clusters_->Check(GuestOffset(0), kFirstFree - 1, 3));
}

TEST_F(DataClustersTest, ThePastOfTheFileIsWrittenOnlyWhereItIsCounted) {
  EXPECT_FALSE(clusters_->Check(GuestOffset(0), 100, 2)) << "free";
  {
    MutexLock lock(tables_->mu);
    ASSERT_TRUE(tables_->refcounts.Change(100, +1));
  }
  EXPECT_FALSE(clusters_->Check(GuestOffset(0), 100, 2)) << "half of it";
  EXPECT_TRUE(clusters_->Check(GuestOffset(0), 100, 1));
  EXPECT_EQ(tables_->written_end.Get(), 101 * kCluster) << "it may be written from now on";
}

}  // namespace
}  // namespace chainfs::qcow2
