// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/commit_ledger.h"

#include <new>
#include <thread>

#include "blocklayer/formats/qcow2/data_clusters.h"
#include "blocklayer/formats/qcow2/l2_tables.h"
#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {
namespace {

class CommitLedgerTest : public TableFixture {
 protected:
  void SetUp() override {
    Make();
    ledger_ = std::make_unique<CommitLedger>(*tables_, epoch_);
  }
  Status Set(uint64_t guest, L2Entry entry) {
    return L2Tables(*tables_).SetEntries(GuestOffset(guest), std::span(&entry, 1));
  }
  // Links a fresh cluster; returns its number.
  uint64_t Link(uint64_t guest) {
    const Result<ClusterRun> run = DataClusters(*tables_).Allocate(GuestOffset(0), 1);
    EXPECT_TRUE(run);
    EXPECT_TRUE(Set(guest, codec_.Normal(tables_->geometry.HostOf(run->first))));
    return run->first;
  }
  uint64_t Refcount(uint64_t cluster) {
    MutexLock lock(tables_->mu);
    return *tables_->refcounts.Get(cluster);
  }

  const L2Codec codec_{3, 9};
  std::unique_ptr<CommitLedger> ledger_;
};

TEST_F(CommitLedgerTest, MakesChangesDurable) {
  EXPECT_FALSE(ledger_->HasPending());
  const uint64_t cluster = Link(0);
  EXPECT_TRUE(ledger_->HasPending());
  EXPECT_EQ(RefcountOnDisk(cluster), 0u);
  ASSERT_TRUE(ledger_->Commit());
  EXPECT_FALSE(ledger_->HasPending());
  EXPECT_EQ(RefcountOnDisk(cluster), 1u);
  const uint64_t table = OnDisk(3 * kCluster) & kEntryOffsetMask;
  EXPECT_EQ(OnDisk(table), kEntryCopied | cluster * kCluster);
}

// Q2-3.
TEST_F(CommitLedgerTest, AClusterStaysWhileIoMaySeeIt) {
  const uint64_t cluster = Link(0);
  ASSERT_TRUE(ledger_->Commit());
  {
    const IoEpoch::Guard guard = epoch_.Enter();  // has seen the mapping
    ASSERT_TRUE(Set(0, codec_.Zero()));
    StartLog();
    for (int i = 0; i < 5; ++i) ASSERT_TRUE(ledger_->Commit());
    for (const std::string& line : TakeLog()) EXPECT_FALSE(line.starts_with("punch")) << line;
    EXPECT_EQ(Refcount(cluster), 1u);
    EXPECT_TRUE(ledger_->HasPending()) << "it is in quarantine";
  }
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(ledger_->Commit());
  const Log log = TakeLog();
  EXPECT_NE(std::ranges::find(log, "punch " + std::to_string(cluster * kCluster)), log.end());
  EXPECT_EQ(Refcount(cluster), 0u);
  EXPECT_EQ(RefcountOnDisk(cluster), 0u);
  EXPECT_FALSE(ledger_->HasPending());
}

TEST_F(CommitLedgerTest, ADereferenceIsDurableBeforeItsClusterIsInQuarantine) {
  const uint64_t cluster = Link(0);
  ASSERT_TRUE(ledger_->Commit());
  ASSERT_TRUE(Set(0, codec_.Zero()));
  for (int i = 0; i < 5; ++i) {
    // No commit succeeds, so whatever happens to the epoch, the cluster is not freed.
    host_->AddFault({.matches = On(HostOp::kWrite)});
    EXPECT_FALSE(ledger_->Commit());
    epoch_.TryAdvance();
  }
  EXPECT_EQ(Refcount(cluster), 1u);
  ASSERT_TRUE(ledger_->CommitAndRelease());
  EXPECT_EQ(RefcountOnDisk(cluster), 0u);
  EXPECT_FALSE(ledger_->HasPending());
}

TEST_F(CommitLedgerTest, WhatCouldNotBeWrittenIsTriedAgain) {
  const uint64_t cluster = Link(0);
  host_->AddFault({.matches = On(HostOp::kWrite), .skip = 1});
  EXPECT_FALSE(ledger_->Commit());
  EXPECT_TRUE(ledger_->HasPending());
  ASSERT_TRUE(ledger_->Commit());
  EXPECT_EQ(RefcountOnDisk(cluster), 1u);
  const uint64_t table = OnDisk(3 * kCluster) & kEntryOffsetMask;
  EXPECT_EQ(OnDisk(table), kEntryCopied | cluster * kCluster);
}

// Q2-7.
TEST_F(CommitLedgerTest, WhatRanOutOfMemoryIsTriedAgain) {
  Link(0);
  host_->SetHook([](const HostCall& call) -> int {
    if (call.op == HostOp::kWrite) throw std::bad_alloc();
    return 0;
  });
  const Status committed = ledger_->Commit();
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().kind, ErrorKind::kNoMemory);
  EXPECT_TRUE(ledger_->HasPending());
  StartLog();
  EXPECT_TRUE(ledger_->Commit());
  EXPECT_EQ(TakeLog().size(), 5u) << "refcounts, sync, L2, L1, sync";
}

TEST_F(CommitLedgerTest, AFailedSyncEndsIt) {
  Link(0);
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  EXPECT_FALSE(ledger_->Commit());
  StartLog();
  EXPECT_FALSE(ledger_->Commit());
  for (const std::string& line : TakeLog()) EXPECT_EQ(line, "sync") << "nothing is written";
}

TEST_F(CommitLedgerTest, AnUncertainHeaderEndsIt) {
  Link(0);
  host_->AddFault({.matches = On(HostOp::kWrite)});
  EXPECT_FALSE(tables_->header.SetVirtualSize(2 << 20));
  StartLog();
  const Status committed = ledger_->Commit();
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().kind, ErrorKind::kIo);
  EXPECT_EQ(TakeLog(), Log());
}

TEST_F(CommitLedgerTest, AChangeAfterACommitFindsNothingPending) {
  Link(0);
  bool ran = false;
  ASSERT_TRUE(ledger_->CommitThen([&]() -> Status {
    ran = true;
    MutexLock lock(tables_->mu);
    EXPECT_TRUE(tables_->pending.empty());
    return {};
  }));
  EXPECT_TRUE(ran);
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  Link(512);
  EXPECT_FALSE(ledger_->CommitThen([]() -> Status {
    ADD_FAILURE() << "the commit failed";
    return {};
  }));
}

TEST_F(CommitLedgerTest, CommitsWhenMuchIsPending) {
  StartLog();
  Link(0);
  TakeLog();
  ASSERT_TRUE(ledger_->CommitIfMuchIsPending());
  EXPECT_EQ(TakeLog(), Log());
  tables_->pending_weight = 5000;
  ASSERT_TRUE(ledger_->CommitIfMuchIsPending());
  EXPECT_FALSE(TakeLog().empty());
}

TEST_F(CommitLedgerTest, WhoWaitsSharesACommit) {
  std::atomic<int> syncs = 0;
  host_->SetHook([&](const HostCall& call) {
    if (call.op == HostOp::kDataSync) ++syncs;
    return 0;
  });
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) EXPECT_TRUE(ledger_->Commit());
    });
  }
  threads.clear();
  EXPECT_GT(syncs.load(), 0);
  EXPECT_LE(syncs.load(), 200);
}

}  // namespace
}  // namespace chainfs::qcow2
