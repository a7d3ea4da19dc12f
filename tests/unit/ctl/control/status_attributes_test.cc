// SPDX-License-Identifier: Apache-2.0
//
// The registry of status attributes, and the texts about the whole mount.
#include "ctl/control/status_attributes.h"

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

class StatusAttributesTest : public ControlTest {
 protected:
  void SetUp() override {
    Make("base.qcow2");
    Make("vm.qcow2", "base.qcow2");
    Open();
  }
  std::optional<std::string> Read(const std::string& disk, std::string_view name) {
    return plane_->attributes.Value(disk.empty() ? nullptr : plane_->disks.Find(disk).get(), name);
  }
  json Parsed(const std::string& disk, std::string_view name) {
    const auto text = Read(disk, name);
    EXPECT_TRUE(text.has_value()) << name;
    return json::parse(text.value_or("null"));
  }
  Words Names(const std::string& disk) {
    return plane_->attributes.Names(disk.empty() ? nullptr : plane_->disks.Find(disk).get());
  }
};

TEST_F(StatusAttributesTest, EachBelongsWhereItBelongs) {
  EXPECT_EQ(Parsed("vm", "info")["name"], "vm");
  EXPECT_EQ(Parsed("vm", "chain").size(), 2u);
  EXPECT_EQ(Parsed("vm", "jobs").size(), 0u);
  EXPECT_FALSE(Read("", "info"));
  EXPECT_FALSE(Read("", "job"));
  EXPECT_FALSE(Read("vm", "version"));
  EXPECT_FALSE(Read("vm", "stream")) << "a command";
  EXPECT_TRUE(Read("", "version"));
  const json config = Parsed("", "config");
  EXPECT_EQ(config["mountpoint"], "/mnt");
  EXPECT_EQ(config["threads"], 3);
  EXPECT_EQ(config["pid"], ::getpid());
}

TEST_F(StatusAttributesTest, OnlyWhatIsThereIsListed) {
  EXPECT_EQ(Names("vm"), (Words{"info", "chain", "jobs"}));
  EXPECT_EQ(Names(""), (Words{"jobs", "version", "config"}));
  plane_->errors.OperationRefused(plane_->disks.Find("vm").get(), "open", EPERM, "no");
  ASSERT_TRUE(Order("vm", "stream", "id=s"));
  EXPECT_EQ(Names("vm"), (Words{"info", "chain", "jobs", "job", "error"}));
  EXPECT_EQ(Names(""), (Words{"jobs", "error", "version", "config"}));
  EXPECT_EQ(Parsed("vm", "error")["message"], "no");
}

TEST_F(StatusAttributesTest, AJobIsReadByItsId) {
  ASSERT_TRUE(Order("vm", "stream", "id=s1"));
  WaitConcluded("vm", "s1");
  EXPECT_EQ(Parsed("vm", "job.s1")["id"], "s1");
  EXPECT_EQ(Parsed("vm", "job")["id"], "s1");
  EXPECT_EQ(Parsed("", "jobs").size(), 1u);
  EXPECT_FALSE(Read("vm", "job.other"));
  EXPECT_FALSE(Read("vm", "job."));
  EXPECT_FALSE(Read("base", "job.s1")) << "another disk's";
  EXPECT_FALSE(Read("", "job.s1"));
}

TEST_F(StatusAttributesTest, NamesAreKnownWhereverTheyBelong) {
  for (const char* name : {"info", "chain", "jobs", "job", "job.x", "error", "version", "config"}) {
    EXPECT_TRUE(StatusAttributes::IsName(name)) << name;
  }
  for (const char* name : {"stream", "jobx", "", "nothing"}) {
    EXPECT_FALSE(StatusAttributes::IsName(name)) << name;
  }
}

TEST_F(StatusAttributesTest, FilesTellOfTheWholeMount) {
  const json chains = json::parse(plane_->files.Chains());
  ASSERT_EQ(chains["chains"].size(), 2u);
  EXPECT_EQ(chains["chains"][1]["file"], "vm.raw");
  EXPECT_EQ(json::parse(plane_->files.Layers())["layers"].size(), 2u);
  EXPECT_EQ(json::parse(plane_->files.Jobs())["jobs"].size(), 0u);
  EXPECT_NE(plane_->files.Metrics().find("chainfs_read_bytes_total{disk=\"vm\"} 0\n"),
            std::string::npos);
}

}  // namespace
}  // namespace chainfs::control
