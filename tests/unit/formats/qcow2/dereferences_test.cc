// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/dereferences.h"

#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

using Clusters = std::vector<uint64_t>;

class DereferencesTest : public TableFixture {
 protected:
  // Clusters from 4 on: 1, 2, 3 references, and none.
  void SetUp() override {
    Make();
    TableState& t = *tables_;
    MutexLock lock(t.mu);
    for (const uint64_t cluster : Clusters{4, 5, 5, 6, 6, 6})
      ASSERT_TRUE(t.refcounts.Change(cluster, 1));
  }
};

// Q2-6.
TEST_F(DereferencesTest, AClusterIsGivenUpAsOftenAsItIsCounted) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  EXPECT_TRUE(t.dereferences.Drop(Clusters{4, 5}));
  EXPECT_TRUE(t.dereferences.Drop(Clusters{5, 6}));
  EXPECT_FALSE(t.dereferences.Drop(Clusters{4})) << "its refcount is up only because it waits";
  EXPECT_EQ(*t.refcounts.Get(4), 1u);
  const Status none = t.dereferences.Drop(Clusters{7});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kCorrupt);
}

TEST_F(DereferencesTest, AllOrNone) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  EXPECT_FALSE(t.dereferences.Drop(Clusters{4, 5, 5, 5}));
  EXPECT_FALSE(t.dereferences.Drop(Clusters{6, 3})) << "an L1 table lies there";
  EXPECT_TRUE(t.dereferences.Drop(Clusters{4, 5, 5, 6, 6, 6})) << "nothing was kept of either";
  EXPECT_EQ(t.pending.Take({}, HostOffset(0), HostOffset(0)).dereferenced,
            (Clusters{4, 5, 5, 6, 6, 6}));
}

TEST_F(DereferencesTest, OnlyLastReferencesMayBePunched) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  EXPECT_EQ(t.dereferences.LastReferences(Clusters{4, 5, 6, 6, 6}), (Clusters{4, 6}));
  EXPECT_EQ(t.dereferences.LastReferences(Clusters{3, 5, 5}), (Clusters{5})) << "no metadata";
}

TEST_F(DereferencesTest, ReleasingTakesTheCountsDown) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  ASSERT_TRUE(t.dereferences.Drop(Clusters{4, 5}));
  t.dereferences.Release(Clusters{4, 5});
  EXPECT_EQ(*t.refcounts.Get(4), 0u);
  EXPECT_EQ(*t.refcounts.Get(5), 1u);
  EXPECT_TRUE(t.dereferences.Drop(Clusters{5})) << "nothing of it waits any more";
}

TEST_F(DereferencesTest, ATableLeavesTheMetadata) {
  TableState& t = *tables_;
  MutexLock lock(t.mu);
  EXPECT_TRUE(t.overlap.Holds(3, 1));
  t.dereferences.DropTable(3, 1);
  EXPECT_FALSE(t.overlap.Holds(3, 1));
  EXPECT_EQ(t.pending.Take({}, HostOffset(0), HostOffset(0)).dereferenced, Clusters{3});
}

TEST(AppendDroppedTest, KeepingAClusterUnderAnotherFlagDropsNothing) {
  const Geometry geometry{.version = 3, .cluster_bits = 16, .refcount_order = 4};
  const L2Codec codec = geometry.l2();
  const ClusterMapping normal = codec.Decode(codec.Normal(HostOffset(0x50000)));
  const ClusterMapping zero = codec.Decode(codec.ZeroAllocated(HostOffset(0x50000)));
  const ClusterMapping gone = codec.Decode(codec.Zero());
  Clusters dropped;
  AppendDropped(geometry, normal, zero, dropped);
  AppendDropped(geometry, zero, normal, dropped);
  AppendDropped(geometry, gone, normal, dropped);
  EXPECT_EQ(dropped, Clusters());
  AppendDropped(geometry, zero, gone, dropped);
  EXPECT_EQ(dropped, Clusters{5});
}

TEST(AppendDroppedTest, ACompressedClusterRefersToAllItTouches) {
  const Geometry geometry{.version = 3, .cluster_bits = 16, .refcount_order = 4};
  const ClusterMapping compressed{.kind = ClusterKind::kCompressed,
                                  .copied = false,
                                  .host = HostOffset(0x5ff00),
                                  .compressed_bytes = 0x101};
  Clusters dropped;
  AppendDropped(geometry, compressed, {}, dropped);
  EXPECT_EQ(dropped, (Clusters{5, 6}));
}

}  // namespace
}  // namespace chainfs::qcow2
