// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/snapshot_command.h"

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

using SnapshotCommandTest = QmpTest;

json Overlay(const std::string& node, const std::string& name) {
  return {{"node-name", node},
          {"snapshot-file", "/mem/" + name + ".qcow2"},
          {"snapshot-node-name", name}};
}

std::string FileOf(const json& nodes, const std::string& name) {
  for (const json& node : nodes) {
    if (node["node-name"] == name) return node["file"];
  }
  return "";
}

TEST_F(SnapshotCommandTest, TheOverlayIsTheNodeAndTheOldOneKeepsItsName) {
  const auto client = Connect();
  ASSERT_EQ(client->Return("blockdev-snapshot-sync", Overlay("vm", "d")), json::object());
  EXPECT_EQ(Layers("vm"), (control::Words{"d.qcow2", "vm.qcow2", "base.qcow2"}));
  const json nodes = client->Return("query-named-block-nodes");
  EXPECT_EQ(FileOf(nodes, "d"), "/mem/d.qcow2");
  EXPECT_EQ(FileOf(nodes, "vm"), "/mem/vm.qcow2");
  EXPECT_EQ(FileOf(nodes, "base"), "/mem/base.qcow2");
  EXPECT_EQ(client->Error("blockdev-snapshot-sync", Overlay("vm", "e")),
            "Node 'vm' is busy: node is used as backing hd of 'd'");
  // A device is what is active.
  ASSERT_EQ(client->Return("blockdev-snapshot-sync",
                           {{"device", "vm"}, {"snapshot-file", "/mem/e.qcow2"}}),
            json::object());
  EXPECT_EQ(Layers("vm")[0], "e.qcow2");
}

// blockdev-add looks at files, so the rest is tested on a mount.
TEST_F(SnapshotCommandTest, OntoWhatIsNoTargetIsRefused) {
  const auto client = Connect();
  const auto error = [&](const json& arguments) {
    return client->Error("blockdev-snapshot", arguments);
  };
  EXPECT_EQ(error({{"node", "vm"}}), "Parameter 'overlay' is missing");
  EXPECT_EQ(error({{"node", "no"}, {"overlay", "x"}}),
            "Cannot find device='no' nor node-name='no'");
  EXPECT_EQ(error({{"node", "vm"}, {"overlay", "x"}}), "Cannot find device='x' nor node-name='x'");
  EXPECT_NE(error({{"node", "vm"}, {"overlay", "base"}}), "");
  EXPECT_EQ(Layers("vm").size(), 2U);
}

TEST_F(SnapshotCommandTest, BadParametersAreToldAndNothingIsMade) {
  const auto client = Connect();
  const auto error = [&](const json& arguments) {
    return client->Error("blockdev-snapshot-sync", arguments);
  };
  EXPECT_EQ(error({{"device", "vm"}}), "Parameter 'snapshot-file' is missing");
  EXPECT_EQ(error({{"snapshot-file", "/mem/e.qcow2"}}), "Cannot find device='' nor node-name=''");
  EXPECT_EQ(error({{"device", "no"}, {"snapshot-file", "/mem/e.qcow2"}}),
            "Cannot find device='no' nor node-name=''");
  EXPECT_EQ(error({{"node-name", "no"}, {"snapshot-file", "/mem/e.qcow2"}}),
            "Cannot find device='' nor node-name='no'");
  EXPECT_EQ(error({{"node-name", "vm"}, {"snapshot-file", "/mem/e.qcow2"}}),
            "New overlay node-name missing");
  EXPECT_EQ(error(Overlay("vm", "base")), "New overlay node-name already in use");
  EXPECT_EQ(error(Overlay("vm", "1e")), "Invalid node-name: '1e'");
  json more = Overlay("vm", "e");
  more["format"] = "raw";
  EXPECT_EQ(error(more), "Backing file not supported for file format 'raw'");
  more["format"] = "bla";
  EXPECT_EQ(error(more), "Unknown file format 'bla'");
  more["format"] = "qcow2";
  more["mode"] = "foo";
  EXPECT_EQ(error(more), "Parameter 'mode' does not accept value 'foo'");
  more["mode"] = "existing";
  EXPECT_NE(error(more).find("e.qcow2"), std::string::npos) << "it is not there";
  EXPECT_NE(error({{"device", "vm"}, {"snapshot-file", "/mem/base.qcow2"}}), "");
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
}

}  // namespace
}  // namespace chainfs::qmp
