// SPDX-License-Identifier: Apache-2.0
//
// Who may give commands by files still needs write permission for them; so it is here (QMP-7).
#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class PermissionTest : public QmpTest {
 protected:
  void ExpectForbidden(QmpClient& client, const std::string& command, const json& arguments) {
    EXPECT_EQ(client.ErrorClass(command, arguments), "GenericError") << command;
    EXPECT_NE(client.Error(command, arguments).find("does not let you write"), std::string::npos)
        << command << ": " << client.Error(command, arguments);
  }
  static json SnapshotAction() {
    return {{"type", "blockdev-snapshot-sync"},
            {"data", {{"device", "vm"}, {"snapshot-file", "/mem/t.qcow2"}}}};
  }
};

TEST_F(PermissionTest, OfTheDiskIsNeeded) {
  const auto client = Connect();
  ASSERT_EQ(client->Return("block-stream", SlowStream("j")), json::object());
  shown_.Forbid({"", "vm"});
  ExpectForbidden(*client, "block-stream", SlowStream("k"));
  ExpectForbidden(*client, "block-commit", {{"device", "vm"}, {"job-id", "k"}});
  ExpectForbidden(*client, "drive-backup",
                  {{"device", "vm"}, {"target", "/mem/t.qcow2"}, {"sync", "full"}});
  ExpectForbidden(*client, "drive-mirror",
                  {{"device", "vm"}, {"target", "/mem/t.qcow2"}, {"sync", "full"}});
  ExpectForbidden(*client, "blockdev-snapshot-sync",
                  {{"device", "vm"}, {"snapshot-file", "/mem/t.qcow2"}});
  ExpectForbidden(*client, "block_resize", {{"device", "vm"}, {"size", 2 * kSize}});
  ExpectForbidden(*client, "transaction", {{"actions", json::array({SnapshotAction()})}});
  ExpectForbidden(*client, "job-pause", {{"id", "j"}});
  ExpectForbidden(*client, "block-job-cancel", {{"device", "j"}});
  ExpectForbidden(*client, "block-job-set-speed", {{"device", "j"}, {"speed", 5}});
  EXPECT_EQ(client->Return("query-jobs").size(), 1U) << "asking needs no permission to write";
  EXPECT_EQ(Layers("vm").size(), 2U);
  EXPECT_FALSE(host_->Exists("t.qcow2"));
  shown_.Forbid({});
  EXPECT_EQ(client->Return("job-cancel", {{"id", "j"}}), json::object());
}

// What is given on the mount needs that of the mount, or of every disk that it is about.
TEST_F(PermissionTest, OfTheMountWillDoForWhatIsGivenThere) {
  const auto client = Connect();
  ASSERT_EQ(client->Return("block-stream", SlowStream("j")), json::object());
  shown_.Forbid({"vm"});
  ExpectForbidden(*client, "block-stream", SlowStream("k"));
  EXPECT_EQ(client->Return("job-pause", {{"id", "j"}}), json::object());
  shown_.Forbid({""});
  EXPECT_EQ(client->Return("job-cancel", {{"id", "j"}}), json::object());
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_CANCELLED", "j").is_null());
  EXPECT_EQ(client->Return("transaction", {{"actions", json::array({SnapshotAction()})}}),
            json::object());
  EXPECT_EQ(Layers("vm").size(), 3U);
}

}  // namespace
}  // namespace chainfs::qmp
