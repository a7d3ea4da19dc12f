// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/node_table.h"

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::qmp {
namespace {

class NodeTableTest : public control::ControlTest {
 protected:
  void SetUp() override {
    Make("base.qcow2");
    Make("vm.qcow2", "base.qcow2");
    Open();
  }
  LayerPtr Active() const { return Find("vm")->chain()->active; }
};

TEST_F(NodeTableTest, AnActiveLayerIsCalledAsItsDisk) {
  NodeTable nodes(*catalog_);
  EXPECT_EQ(nodes.NameOf(Active()), "vm");
  EXPECT_EQ(nodes.NameOf(Find("base")->chain()->active), "base");
  const auto device = nodes.Device("vm");
  ASSERT_TRUE(device);
  EXPECT_TRUE(device->active);
  const auto lower = nodes.DeviceOrNode(std::nullopt, "base");
  ASSERT_TRUE(lower);
  EXPECT_EQ(lower->layer->name, "base.qcow2");
}

TEST_F(NodeTableTest, ADeviceMovesOnAndANodeStays) {
  NodeTable nodes(*catalog_);
  nodes.LookAgain();
  ASSERT_TRUE(Order("vm", "snapshot", "target=/mem/new.qcow2"));
  EXPECT_EQ(nodes.Device("vm")->layer->name, "new.qcow2");
  const auto node = nodes.DeviceOrNode(std::nullopt, "vm");
  ASSERT_TRUE(node);
  EXPECT_EQ(node->layer->name, "vm.qcow2");
  EXPECT_EQ(nodes.LayerOf(*Find("vm"), "vm").value()->name, "vm.qcow2");
  const std::string name = nodes.NameOf(Active());
  EXPECT_TRUE(name.starts_with("#block")) << name;
  nodes.NameLayer(Active(), "fresh");
  EXPECT_EQ(nodes.NameOf(Active()), "fresh");
  EXPECT_FALSE(nodes.DeviceOrNode(std::nullopt, name));
}

TEST_F(NodeTableTest, ATakenNameIsNotGiven) {
  NodeTable nodes(*catalog_);
  nodes.LookAgain();
  EXPECT_FALSE(nodes.CheckNewName("vm"));
  EXPECT_FALSE(nodes.CheckNewName(""));
  EXPECT_FALSE(nodes.CheckNewName("#block001"));
  EXPECT_FALSE(nodes.CheckNewName(std::string(32, 'a')));
  EXPECT_TRUE(nodes.CheckNewName(std::string(31, 'a')));
  nodes.NameLayer(Active(), "base");
  EXPECT_EQ(nodes.NameOf(Active()), "vm");
}

TEST_F(NodeTableTest, ANameGoesWithItsLayer) {
  NodeTable nodes(*catalog_);
  nodes.LookAgain();
  ASSERT_TRUE(Order("vm", "snapshot", "target=/mem/new.qcow2"));
  ASSERT_TRUE(Order("vm", "revert", "to=vm.qcow2,yes=yes"));
  nodes.NameLayer(Active(), "back");
  ASSERT_TRUE(Order("vm", "snapshot", "target=/mem/other.qcow2"));
  nodes.NameLayer(Active(), "other");
  EXPECT_FALSE(nodes.CheckNewName("other"));
  ASSERT_TRUE(Order("vm", "revert", "to=vm.qcow2,yes=yes"));
  EXPECT_FALSE(nodes.DeviceOrNode(std::nullopt, "other"));
  EXPECT_TRUE(nodes.CheckNewName("other"));
}

TEST_F(NodeTableTest, TargetsAreAddedAndRemoved) {
  NodeTable nodes(*catalog_);
  nodes.LookAgain();
  ASSERT_TRUE(nodes.AddTarget("t", {.format = "qcow2", .path = "/t.qcow2"}));
  EXPECT_EQ(nodes.AddTarget("t", {}).error().description, "Duplicate nodes with node-name='t'");
  EXPECT_EQ(nodes.Target("t")->path, "/t.qcow2");
  EXPECT_EQ(nodes.RemoveTarget("vm").error().description, "Node vm is in use");
  EXPECT_TRUE(nodes.RemoveTarget("t"));
  EXPECT_EQ(nodes.RemoveTarget("t").error().description, "Failed to find node with node-name='t'");
  EXPECT_EQ(nodes.Target("t").error().description, "Cannot find device='t' nor node-name='t'");
}

}  // namespace
}  // namespace chainfs::qmp
