// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/target_commands.h"

#include <fstream>

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class TargetCommandsTest : public QmpTest {
 protected:
  void SetUp() override {
    QmpTest::SetUp();
    std::ofstream(file_) << "target";
  }
  json Node(const std::string& name, const std::string& path) const {
    return {{"driver", "qcow2"},
            {"node-name", name},
            {"file", {{"driver", "file"}, {"filename", path}}}};
  }
  const std::string file_ = dir_ / "t.qcow2";
};

TEST_F(TargetCommandsTest, ATargetIsANodeUntilItIsDeleted) {
  const auto client = Connect();
  json arguments = Node("t", file_);
  arguments["read-only"] = false;
  arguments["cache"] = {{"direct", true}};
  EXPECT_EQ(client->Return("blockdev-add", arguments), json::object());
  EXPECT_EQ(
      client->Return("blockdev-add", {{"driver", "file"}, {"node-name", "r"}, {"filename", file_}}),
      json::object());
  const json nodes = client->Return("query-named-block-nodes");
  const auto has = [&](const std::string& name, const std::string& format) {
    return std::ranges::any_of(nodes, [&](const json& node) {
      return node["node-name"] == name && node["drv"] == format && node["file"] == file_;
    });
  };
  EXPECT_TRUE(has("t", "qcow2"));
  EXPECT_TRUE(has("r", "raw"));
  EXPECT_EQ(client->Error("blockdev-add", arguments), "Duplicate nodes with node-name='t'");
  EXPECT_EQ(client->Return("blockdev-del", {{"node-name", "t"}}), json::object());
  EXPECT_EQ(client->Error("blockdev-del", {{"node-name", "t"}}),
            "Failed to find node with node-name='t'");
  EXPECT_EQ(client->Error("blockdev-del", {{"node-name", "vm"}}), "Node vm is in use");
}

TEST_F(TargetCommandsTest, BadParametersAreTold) {
  const auto client = Connect();
  const auto error = [&](const json& arguments) {
    return client->Error("blockdev-add", arguments);
  };
  EXPECT_EQ(error(Node("t", "/no/such/file")),
            "Could not open '/no/such/file': No such file or directory");
  EXPECT_NE(error(Node("t", dir_.path())).find("not a regular file"), std::string::npos);
  EXPECT_NE(error(Node("t", "t.qcow2")).find("whole path"), std::string::npos);
  EXPECT_EQ(error({{"driver", "bla"}, {"node-name", "t"}}),
            "Parameter 'driver' does not accept value 'bla'");
  EXPECT_EQ(error({{"driver", "qcow2"}}), "Parameter 'file' is missing");
  json nameless = Node("t", file_);
  nameless.erase("node-name");
  EXPECT_EQ(error(nameless), "'node-name' must be specified for the root node");
  EXPECT_EQ(error(Node("1t", file_)), "Invalid node-name: '1t'");
  EXPECT_EQ(error(Node("vm", file_)), "Duplicate nodes with node-name='vm'");
  EXPECT_EQ(error({{"driver", "file"}, {"node-name", "t"}, {"filename", file_}, {"x", 7}}),
            "Parameter 'x' is unexpected");
  json deeper = Node("t", file_);
  deeper["file"]["x"] = 1;
  EXPECT_EQ(error(deeper), "Parameter 'file.x' is unexpected");
  deeper["file"] = "other";
  EXPECT_NE(error(deeper), "");
}

}  // namespace
}  // namespace chainfs::qmp
