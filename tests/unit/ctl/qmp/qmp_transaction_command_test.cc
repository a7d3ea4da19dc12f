// SPDX-License-Identifier: Apache-2.0
//
// Transactions that start backups; those of snapshots alone are among the copies.
#include "ctl/qmp/transaction_command.h"

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class TransactionWithJobsTest : public QmpTest {
 protected:
  void SetUp() override {
    Make("other.qcow2");
    QmpTest::SetUp();
    client_ = Connect();
  }
  static json Backup(const std::string& device, const std::string& id, const std::string& more) {
    return {{"type", "drive-backup"},
            {"data",
             {{"device", device},
              {"job-id", id},
              {"target", "/mem/" + more + ".qcow2"},
              {"format", "qcow2"},
              {"sync", "full"}}}};
  }
  static json Snapshot(const std::string& device, const std::string& name) {
    return {{"type", "blockdev-snapshot-sync"},
            {"data", {{"device", device}, {"snapshot-file", "/mem/" + name + ".qcow2"}}}};
  }
  std::string ErrorOf(const json& actions, const json& properties = json::object()) {
    return client_->Error("transaction", {{"actions", actions}, {"properties", properties}});
  }
  void ExpectNothingHappened() {
    EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
    EXPECT_EQ(Layers("other"), control::Words{"other.qcow2"});
    for (const char* const name : {"t.qcow2", "u.qcow2", "s.qcow2"}) {
      EXPECT_FALSE(host_->Exists(name)) << name;
    }
    EXPECT_TRUE(catalog_->records().ReadAll("job-").value().empty());
  }

  std::unique_ptr<QmpClient> client_;
};

TEST_F(TransactionWithJobsTest, BackupsAndASnapshotAreAllAccepted) {
  ASSERT_EQ(client_->Return("transaction",
                            {{"actions", {Backup("vm", "j", "t"), Snapshot("other", "s")}}}),
            json::object());
  EXPECT_EQ(Layers("other"), (control::Words{"s.qcow2", "other.qcow2"}));
  const json done = client_->WaitForEvent("BLOCK_JOB_COMPLETED", "j");
  ASSERT_FALSE(done.is_null());
  EXPECT_FALSE(done["data"].contains("error")) << done;
  EXPECT_TRUE(host_->Exists("t.qcow2"));
  // It goes by itself, like one that was started alone.
  EXPECT_EQ(client_->Return("query-jobs"), json::array());
}

TEST_F(TransactionWithJobsTest, OneThatIsRefusedLeavesNone) {
  EXPECT_NE(ErrorOf({Backup("vm", "j", "t"), Backup("vm", "k", "u")}), "");
  EXPECT_EQ(client_->Return("query-jobs"), json::array());
  ExpectNothingHappened();
  EXPECT_NE(ErrorOf({Backup("vm", "j", "t"), Snapshot("base", "s")}), "");
  EXPECT_EQ(client_->Return("query-jobs"), json::array());
  ExpectNothingHappened();
  // The id is free again.
  EXPECT_EQ(client_->Return("transaction", {{"actions", json::array({Backup("vm", "j", "t")})}}),
            json::object());
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_COMPLETED", "j").is_null());
}

TEST_F(TransactionWithJobsTest, BadOnesAreTold) {
  EXPECT_EQ(ErrorOf(json::array({Backup("vm", "1x", "t")})), "Invalid job ID '1x'");
  EXPECT_EQ(ErrorOf({Backup("vm", "j", "t"), Backup("other", "j", "u")}),
            "Job ID 'j' already in use");
  EXPECT_EQ(ErrorOf(json::array({Backup("no", "j", "t")})),
            "Cannot find device='no' nor node-name='no'");
  EXPECT_NE(ErrorOf(json::array({Backup("vm", "j", "t")}), {{"completion-mode", "grouped"}})
                .find("grouped"),
            std::string::npos);
  EXPECT_EQ(ErrorOf({Backup("vm", "j", "t"), {{"type", "abort"}, {"data", json::object()}}}),
            "Transaction aborted using Abort action");
  ExpectNothingHappened();
}

}  // namespace
}  // namespace chainfs::qmp
