// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/copy_commands.h"

#include "ctl/verbs/verb_table.h"
#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class CopyCommandsTest : public QmpTest {
 protected:
  // Of a command of the older or the newer kind.
  std::string Error(const std::string& command, json arguments) {
    arguments.emplace("device", "vm");
    arguments.emplace("job-id", "j");
    arguments.emplace("sync", "full");
    return client_->Error(command, arguments);
  }
  void SetUp() override {
    QmpTest::SetUp();
    client_ = Connect();
  }
  void TearDown() override {
    client_.reset();
    QmpTest::TearDown();
  }
  static bool Has(std::string_view verb) {
    return verbs::FindVerb(verbs::Verbs(), verb) != nullptr;
  }

  std::unique_ptr<QmpClient> client_;
};

TEST_F(CopyCommandsTest, ACommandIsThereWithItsVerb) {
  const std::string commands = client_->Return("query-commands").dump();
  for (const auto& [command, verb] : std::vector<std::pair<std::string, std::string>>{
           {"blockdev-mirror", "mirror"}, {"drive-backup", "backup"}, {"block_resize", "resize"}}) {
    EXPECT_EQ(commands.find('"' + command + '"') != std::string::npos, Has(verb)) << command;
    EXPECT_EQ(client_->ErrorClass(command) != "CommandNotFound", Has(verb)) << command;
  }
}

TEST_F(CopyCommandsTest, BadParametersOfAMirrorAreTold) {
  const json file = {{"target", "/mem/t.qcow2"}};
  const auto with = [&](const char* key, const json& value) {
    json arguments = file;
    arguments[key] = value;
    return Error("drive-mirror", arguments);
  };
  EXPECT_EQ(with("device", "no"), "Cannot find device='no' nor node-name='no'");
  EXPECT_EQ(with("sync", "bla"), "Parameter 'sync' does not accept value 'bla'");
  EXPECT_EQ(with("sync", "incremental"), "Sync mode 'incremental' not supported");
  EXPECT_EQ(with("copy-mode", "no"), "Parameter 'copy-mode' does not accept value 'no'");
  EXPECT_EQ(with("node-name", "vm"), "Duplicate nodes with node-name='vm'");
  EXPECT_NE(with("replaces", "vm").find("replaces"), std::string::npos);
  EXPECT_EQ(Error("blockdev-mirror", {{"target", "no"}}),
            "Cannot find device='no' nor node-name='no'");
  EXPECT_EQ(client_->Return("query-jobs"), json::array());
}

TEST_F(CopyCommandsTest, BadParametersOfABackupAreTold) {
  const json file = {{"target", "/mem/t.qcow2"}};
  const auto with = [&](const char* key, const json& value) {
    json arguments = file;
    arguments[key] = value;
    return Error("drive-backup", arguments);
  };
  EXPECT_EQ(with("device", "no"), "Cannot find device='no' nor node-name='no'");
  EXPECT_EQ(with("sync", "none"), "Sync mode 'none' not supported");
  EXPECT_NE(with("bitmap", "b").find("bitmaps"), std::string::npos);
  EXPECT_NE(with("mode", "existing").find("write over"), std::string::npos);
  EXPECT_EQ(Error("drive-backup", {{"target", "/mem/t.qcow2"},
                                   {"on-source-error", "stop"},
                                   {"on-target-error", "report"}}),
            "'on-source-error' and 'on-target-error' must be the same: a job has one policy");
  EXPECT_EQ(client_->Return("query-jobs"), json::array());
}

// The disk moves to the target when the job is completed, and its node is the target's.
TEST_F(CopyCommandsTest, AMirrorGetsReadyAndPivots) {
  ASSERT_EQ(client_->Return("drive-mirror", {{"device", "vm"},
                                             {"job-id", "j"},
                                             {"sync", "full"},
                                             {"target", "/mem/t.qcow2"},
                                             {"format", "qcow2"},
                                             {"node-name", "t"}}),
            json::object());
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_READY", "j").is_null());
  ASSERT_EQ(client_->Return("job-complete", {{"id", "j"}}), json::object());
  const json done = client_->WaitForEvent("BLOCK_JOB_COMPLETED", "j");
  ASSERT_FALSE(done.is_null());
  EXPECT_FALSE(done["data"].contains("error")) << done;
  EXPECT_EQ(Layers("vm"), control::Words{"t.qcow2"});
  bool named = false;
  for (const json& node : client_->Return("query-named-block-nodes")) {
    named |= node["node-name"] == "t" && node.contains("image");
  }
  EXPECT_TRUE(named);
}

TEST_F(CopyCommandsTest, AMirrorThatIsReadyIsKeptByASoftCancel) {
  ASSERT_EQ(client_->Return("drive-mirror",
                            {{"device", "vm"}, {"sync", "full"}, {"target", "/mem/t.qcow2"}}),
            json::object());
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_READY", "vm").is_null());
  ASSERT_EQ(client_->Return("block-job-change",
                            {{"id", "vm"}, {"type", "mirror"}, {"copy-mode", "write-blocking"}}),
            json::object());
  ASSERT_EQ(client_->Return("block-job-cancel", {{"device", "vm"}}), json::object());
  ASSERT_FALSE(client_->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
}

TEST_F(CopyCommandsTest, ABackupEndsByItself) {
  ASSERT_EQ(client_->Return("drive-backup", {{"device", "vm"},
                                             {"job-id", "j"},
                                             {"sync", "full"},
                                             {"target", "/mem/t.qcow2"},
                                             {"format", "qcow2"}}),
            json::object());
  const json done = client_->WaitForEvent("BLOCK_JOB_COMPLETED", "j");
  ASSERT_FALSE(done.is_null());
  EXPECT_FALSE(done["data"].contains("error")) << done;
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
}

TEST_F(CopyCommandsTest, ADiskGrows) {
  EXPECT_EQ(client_->Error("block_resize", {{"size", 1}}),
            "Cannot find device='' nor node-name=''");
  EXPECT_EQ(client_->Error("block_resize", {{"device", "vm"}, {"size", -1}}),
            "Parameter 'size' expects a >0 size");
  EXPECT_EQ(client_->Error("block_resize", {{"node-name", "vm"}, {"size", 1000}}),
            "The new size must be a multiple of 512");
  ASSERT_EQ(client_->Return("block_resize", {{"node-name", "vm"}, {"size", 2 * kSize}}),
            json::object());
  EXPECT_EQ(Find("vm")->size(), 2 * kSize);
}

TEST_F(CopyCommandsTest, SnapshotsOfATransactionAreAllMadeOrNone) {
  client_.reset();
  server_.reset();
  Make("other.qcow2");
  Open();
  Serve();
  client_ = Connect();
  const auto action = [](const std::string& device, const std::string& name) -> json {
    return {{"type", "blockdev-snapshot-sync"},
            {"data",
             {{"device", device},
              {"snapshot-file", "/mem/of," + name + ".qcow2"},
              {"snapshot-node-name", name}}}};
  };
  const auto error = [&](const json& actions) {
    return client_->Error("transaction", {{"actions", actions}});
  };
  EXPECT_EQ(client_->Return("transaction", {{"actions", json::array()}}), json::object());
  EXPECT_EQ(error(json::array({{{"type", "bla"}, {"data", json::object()}}})),
            "Parameter 'type' does not accept value 'bla'");
  EXPECT_EQ(error(json::array({action("vm", "one"), action("no", "two")})),
            "Cannot find device='no' nor node-name=''");
  EXPECT_EQ(error(json::array({action("vm", "one"), action("other", "one")})),
            "New overlay node-name already in use");
  EXPECT_EQ(
      error(json::array({action("vm", "one"), {{"type", "abort"}, {"data", json::object()}}})),
      "Transaction aborted using Abort action");
  EXPECT_EQ(Layers("vm").size(), 2U);
  ASSERT_EQ(
      client_->Return("transaction",
                      {{"actions", json::array({action("vm", "one"), action("other", "two")})}}),
      json::object());
  EXPECT_EQ(Layers("vm")[0], "of,one.qcow2");
  EXPECT_EQ(Layers("other")[0], "of,two.qcow2");
  EXPECT_NE(client_->Return("query-named-block-nodes").dump().find("\"node-name\":\"two\""),
            std::string::npos);
}

}  // namespace
}  // namespace chainfs::qmp
