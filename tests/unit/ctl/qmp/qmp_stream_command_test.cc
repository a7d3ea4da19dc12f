// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/stream_command.h"

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

using StreamCommandTest = QmpTest;

TEST_F(StreamCommandTest, BadParametersAreTold) {
  const auto client = Connect();
  const auto error = [&](json arguments) {
    arguments.emplace("job-id", "j");
    return client->Error("block-stream", arguments);
  };
  EXPECT_EQ(error({{"base", "b"}}), "Parameter 'device' is missing");
  EXPECT_EQ(error({{"device", "no"}}), "Cannot find device='no' nor node-name='no'");
  EXPECT_EQ(error({{"device", "vm"}, {"job-id", "1x"}}), "Invalid job ID '1x'");
  EXPECT_EQ(error({{"device", "vm"}, {"base", "no"}}), "Can't find 'no' in the backing chain");
  EXPECT_EQ(error({{"device", "vm"}, {"base", "vm.qcow2"}}),
            "Can't find 'vm.qcow2' in the backing chain");
  EXPECT_EQ(error({{"device", "vm"}, {"base", "b"}, {"base-node", "b"}}),
            "'base' and 'base-node' cannot be specified at the same time");
  EXPECT_EQ(error({{"device", "vm"}, {"bottom", "b"}, {"base-node", "b"}}),
            "'bottom' and 'base-node' cannot be specified at the same time");
  EXPECT_EQ(error({{"device", "vm"}, {"base-node", "zz"}}),
            "Cannot find device='' nor node-name='zz'");
  EXPECT_EQ(error({{"device", "vm"}, {"base-node", "vm"}}),
            "Node 'vm' is not a backing image of 'vm'");
  EXPECT_EQ(error({{"device", "vm"}, {"on-error", "x"}}),
            "Parameter 'on-error' does not accept value 'x'");
  EXPECT_EQ(error({{"device", "vm"}, {"speed", -1}}),
            "Parameter 'speed' expects a non-negative value");
  EXPECT_EQ(error({{"device", "vm"}, {"backing-file", "x"}}),
            "backing file specified, but streaming the entire chain");
  EXPECT_NE(error({{"device", "vm"}, {"base", "base.qcow2"}, {"backing-file", "x"}}).find("itself"),
            std::string::npos);
  EXPECT_NE(error({{"device", "vm"}, {"auto-finalize", false}}).find("auto-finalize"),
            std::string::npos);
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(client->Return("query-jobs"), json::array());
}

TEST_F(StreamCommandTest, ARefusalIsTheLastErrorOfTheDisk) {
  const auto client = Connect();
  client->Return("block-stream", SlowStream("j"));
  EXPECT_NE(client->Error("block-stream", SlowStream("k")).find("job j"), std::string::npos);
  const auto error = plane_->attributes.Value(plane_->disks.Find("vm").get(), "error");
  ASSERT_TRUE(error);
  EXPECT_EQ(json::parse(*error)["attribute"], "user.chainfs.stream");
}

TEST_F(StreamCommandTest, ADeviceIsTheDefaultId) {
  const auto client = Connect();
  client->Return("block-stream", {{"device", "vm"}});
  EXPECT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
}

// base <- vm <- top <- last, then vm is merged into top: what is above and below stays.
TEST_F(StreamCommandTest, LayersBetweenAreNamedByNodesOrFiles) {
  const auto client = Connect();
  for (const char* const name : {"top", "last"}) {
    const json arguments = {{"device", "vm"},
                            {"snapshot-file", std::string("/mem/of-") + name + ".qcow2"},
                            {"snapshot-node-name", name}};
    ASSERT_EQ(client->Return("blockdev-snapshot-sync", arguments), json::object());
  }
  ASSERT_EQ(Layers("vm"),
            (control::Words{"of-last.qcow2", "of-top.qcow2", "vm.qcow2", "base.qcow2"}));
  EXPECT_EQ(client->Error("block-stream", {{"device", "top"}}), "Invalid job ID ''");
  EXPECT_EQ(
      client->Error("block-stream", {{"device", "top"}, {"job-id", "j"}, {"base-node", "last"}}),
      "Node 'last' is not a backing image of 'top'");
  ASSERT_EQ(client->Return("block-stream", {{"device", "top"},
                                            {"job-id", "j"},
                                            {"base-node", "base"},
                                            {"backing-file", "./base.qcow2"}}),
            json::object());
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "j").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"of-last.qcow2", "of-top.qcow2", "base.qcow2"}));
  ASSERT_EQ(client->Return("block-stream", {{"device", "vm"}, {"bottom", "top"}}), json::object());
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "vm").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"of-last.qcow2", "base.qcow2"}));
}

}  // namespace
}  // namespace chainfs::qmp
