// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/commit_command.h"

#include <algorithm>

#include "tests/unit/ctl/qmp/qmp_fixture.h"

namespace chainfs::qmp {
namespace {

class CommitCommandTest : public QmpTest {
 protected:
  std::vector<std::byte> Contents() const {
    std::vector<std::byte> bytes(kSize);
    EXPECT_TRUE(Find("vm")->Read(GuestOffset(0), bytes));
    return bytes;
  }
  void Write(uint64_t offset, std::byte value) {
    const std::vector<std::byte> data(65536, value);
    ASSERT_TRUE(Find("vm")->Write(GuestOffset(offset), data));
  }
  static bool Holds(const std::vector<std::byte>& bytes, uint64_t offset, std::byte value) {
    return std::all_of(bytes.begin() + static_cast<ptrdiff_t>(offset),
                       bytes.begin() + static_cast<ptrdiff_t>(offset + 65536),
                       [&](std::byte each) { return each == value; });
  }
};

// The disk stays where it is until the job is completed, and what is written meanwhile is in base.
TEST_F(CommitCommandTest, TheActiveLayerGetsReadyAndGoesWhenItIsCompleted) {
  const auto client = Connect();
  Write(0, std::byte{1});
  ASSERT_EQ(client->Return("block-commit", {{"device", "vm"}, {"job-id", "j"}}), json::object());
  const json ready = client->WaitForEvent("BLOCK_JOB_READY", "j");
  ASSERT_FALSE(ready.is_null());
  EXPECT_EQ(ready["data"]["type"], "commit");
  EXPECT_EQ(client->Return("query-block-jobs")[0]["ready"], true);
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
  Write(131072, std::byte{2});
  ASSERT_EQ(client->Return("job-complete", {{"id", "j"}}), json::object());
  const json done = client->WaitForEvent("BLOCK_JOB_COMPLETED", "j");
  ASSERT_FALSE(done.is_null());
  EXPECT_FALSE(done["data"].contains("error")) << done;
  EXPECT_EQ(Layers("vm"), control::Words{"base.qcow2"});
  EXPECT_TRUE(Holds(Contents(), 0, std::byte{1}));
  EXPECT_TRUE(Holds(Contents(), 65536, std::byte{7}));
  EXPECT_TRUE(Holds(Contents(), 131072, std::byte{2}));
  EXPECT_EQ(client->Return("query-jobs"), json::array());
}

TEST_F(CommitCommandTest, OneThatIsReadyCanBeCancelled) {
  const auto client = Connect();
  client->Return("block-commit", {{"device", "vm"}});
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_READY", "vm").is_null());
  Write(0, std::byte{3});
  EXPECT_EQ(client->Return("job-cancel", {{"id", "vm"}}), json::object());
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_CANCELLED", "vm").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"vm.qcow2", "base.qcow2"}));
  EXPECT_TRUE(Holds(Contents(), 0, std::byte{3}));
}

TEST_F(CommitCommandTest, LayersInTheMiddleAreNamedByNodesOrFiles) {
  const auto client = Connect();
  for (const char* const name : {"one", "two"}) {
    Write(0, std::byte{1});
    ASSERT_EQ(client->Return("blockdev-snapshot-sync",
                             {{"device", "vm"},
                              {"snapshot-file", std::string("/mem/of-") + name + ".qcow2"},
                              {"snapshot-node-name", name}}),
              json::object());
  }
  ASSERT_EQ(client->Return("block-commit", {{"device", "vm"},
                                            {"job-id", "j"},
                                            {"top-node", "one"},
                                            {"base-node", "vm"},
                                            {"backing-file", "vm.qcow2"}}),
            json::object());
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "j").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"of-two.qcow2", "vm.qcow2", "base.qcow2"}));
  ASSERT_EQ(client->Return("block-commit",
                           {{"device", "two"}, {"job-id", "j"}, {"top", "/mem/vm.qcow2"}}),
            json::object());
  ASSERT_FALSE(client->WaitForEvent("BLOCK_JOB_COMPLETED", "j").is_null());
  EXPECT_EQ(Layers("vm"), (control::Words{"of-two.qcow2", "base.qcow2"}));
  EXPECT_TRUE(Holds(Contents(), 0, std::byte{1}));
}

TEST_F(CommitCommandTest, BadParametersAreTold) {
  const auto client = Connect();
  EXPECT_EQ(client->Ask("block-commit", {{"device", "no"}})["error"],
            (json{{"class", "DeviceNotFound"}, {"desc", "Device 'no' not found"}}));
  const auto error = [&](json arguments) {
    arguments["device"] = "vm";
    return client->Error("block-commit", arguments);
  };
  EXPECT_EQ(error({{"top", "no"}}), "Top image file no not found");
  EXPECT_EQ(error({{"base", "no"}}), "Can't find 'no' in the backing chain");
  EXPECT_EQ(error({{"top", "base.qcow2"}}), "cannot commit an image into itself");
  EXPECT_EQ(error({{"base", "vm.qcow2"}}), "Can't find 'vm.qcow2' in the backing chain");
  EXPECT_EQ(error({{"base-node", "vm"}}), "cannot commit an image into itself");
  EXPECT_EQ(error({{"top-node", "vm"}, {"top", "x"}}),
            "'top-node' and 'top' are mutually exclusive");
  EXPECT_EQ(error({{"base-node", "vm"}, {"base", "x"}}),
            "'base-node' and 'base' are mutually exclusive");
  EXPECT_EQ(error({{"backing-file", "base.qcow2"}}),
            "'backing-file' specified, but 'top' is the active layer");
  EXPECT_EQ(Layers("vm").size(), 2U);
}

}  // namespace
}  // namespace chainfs::qmp
