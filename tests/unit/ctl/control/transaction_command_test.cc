// SPDX-License-Identifier: Apache-2.0
//
// The command transaction: all of its actions are carried out, or none.
#include "ctl/control/transaction_command.h"

#include "ctl/control/name_list.h"
#include "ctl/verbs/verb_table.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::control {
namespace {

using Words = std::vector<std::string>;

class TransactionCommandTest : public jobs::StreamFixture {
 protected:
  void SetUp() override {
    MakeFive();
    OpenAll();
  }
  Status Transaction(const std::string& value) {
    CHAINFS_ASSIGN(
        const verbs::Arguments arguments,
        verbs::Arguments::Parse(value, verbs::FindVerb(verbs::Verbs(), "transaction")->keys));
    CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
    return TransactionCommand(*catalog_, *jobs_)
        .Run(arguments.Text("actions").value_or(""), true, dry_run);
  }
  std::string Refused(const std::string& value) {
    const Status status = Transaction(value);
    return status ? "not refused" : status.error().message;
  }
};

TEST(NameList, ASemicolonThatBelongsToAnItemIsWrittenTwice) {
  EXPECT_EQ(SplitList("a;b"), (Words{"a", "b"}));
  EXPECT_EQ(SplitList("a;;b;c"), (Words{"a;b", "c"}));
  EXPECT_EQ(SplitList("a;;;b"), (Words{"a;", "b"}));
  EXPECT_EQ(SplitList(""), Words{""});
}

TEST_F(TransactionCommandTest, SnapshotsAndJobsTogether) {
  const Status done = Transaction("actions=e/stream/base=a.qcow2,,id=s;e/snapshot");
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(ChainOf("e").front(), "e.1.qcow2");
  const auto job = WaitEnd("e", "s");
  EXPECT_FALSE(job.error) << *job.error;
  EXPECT_EQ(ChainOf("e"), (Words{"e.1.qcow2", "e.qcow2", "a.qcow2"}));
}

TEST_F(TransactionCommandTest, WhenAJobIsRefusedNothingHappens) {
  EXPECT_NE(Refused("actions=e/snapshot;e/stream/base=nothing.qcow2").find("nothing.qcow2"),
            std::string::npos);
  EXPECT_EQ(ChainOf("e").size(), 5u);
  // The first one was ready before the second one was refused.
  EXPECT_NE(Refused("actions=e/stream/id=one;e/stream/id=two"), "not refused");
  EXPECT_TRUE(jobs_->Jobs("").empty());
  EXPECT_TRUE(Records().empty());
  EXPECT_EQ(ChainOf("e").size(), 5u);
}

TEST_F(TransactionCommandTest, WhenASnapshotIsRefusedNoJobGoesOn) {
  EXPECT_NE(Refused("actions=e/stream/id=one;d/snapshot").find("read-only"), std::string::npos);
  EXPECT_TRUE(jobs_->Jobs("").empty()) << "that could be told before";
}

TEST_F(TransactionCommandTest, WhatCannotBeUndoneIsNoPartOfOne) {
  EXPECT_NE(Refused("actions=e/revert/to=d.qcow2").find("only snapshots"), std::string::npos);
  EXPECT_NE(Refused("actions=e").find("not of the form"), std::string::npos);
  EXPECT_NE(Refused("actions=nobody/snapshot").find("no disk nobody"), std::string::npos);
  EXPECT_NE(Refused("actions=e/snapshot/dry-run=yes").find("dry-run="), std::string::npos);
  EXPECT_NE(Refused("").find("actions= is missing"), std::string::npos);
}

TEST_F(TransactionCommandTest, ADryRunOnlyChecks) {
  ASSERT_TRUE(Transaction("actions=e/snapshot;e/stream/id=s,dry-run=yes"));
  EXPECT_EQ(ChainOf("e").size(), 5u);
  EXPECT_FALSE(Transaction("actions=d/snapshot,dry-run=yes"));
}

TEST_F(TransactionCommandTest, AReadOnlyMountOnlyEstimates) {
  CloseAll();
  CatalogOptions options;
  options.read_only = true;
  OpenAll(std::move(options));
  EXPECT_NE(Refused("actions=e/stream/id=s").find("read-only"), std::string::npos);
  EXPECT_NE(Refused("actions=e/snapshot,dry-run=yes").find("read-only"), std::string::npos);
  const Status estimated = Transaction("actions=e/stream/id=s,dry-run=yes");
  EXPECT_TRUE(estimated) << estimated.error().message;
  WaitEnd("e", "s");
}

}  // namespace
}  // namespace chainfs::control
