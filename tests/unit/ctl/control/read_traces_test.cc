// SPDX-License-Identifier: Apache-2.0
//
// The verb `trace`, and the file that comes of it.
#include "ctl/control/read_traces.h"

#include <fmt/format.h>

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

class ReadTracesTest : public ControlTest {
 protected:
  void SetUp() override {
    Make("vm.qcow2");
    Open();
  }
  void Read(uint64_t offset, size_t length, const std::string& disk = "vm") {
    std::vector<std::byte> out(length);
    ASSERT_TRUE(Find(disk)->Read(GuestOffset(offset), out));
  }
  std::string Text(const std::string& name) {
    const std::vector<std::byte> contents = host_->Contents(name);
    return {reinterpret_cast<const char*>(contents.data()), contents.size()};
  }
  std::string TraceInInfo() {
    const ServedDiskPtr disk = plane_->disks.Find("vm");
    const auto value = plane_->attributes.Value(disk.get(), "info");
    return value ? json::parse(*value).value("trace", "") : "no info";
  }

  static constexpr const char* kNothing =
      "chainfs-trace 1\n# what was read of vm (offset and length in bytes)\n";
};

TEST_F(ReadTracesTest, WhatIsReadIsRecordedInItsOrder) {
  Read(0, 512);  // before
  EXPECT_EQ(TraceInInfo(), "");
  ASSERT_TRUE(Order("vm", "trace", "file=vm.trace"));
  EXPECT_EQ(TraceInInfo(), "/mem/vm.trace");
  const auto tells = [this](const char* running) {
    const std::string line = std::string("chainfs_trace_running{disk=\"vm\"} ") + running + "\n";
    return plane_->files.Metrics().find(line) != std::string::npos;
  };
  EXPECT_TRUE(tells("1"));
  EXPECT_EQ(Text("vm.trace"), kNothing);
  Read(640 << 10, 4096);
  Read(0, 65537);
  Read(640 << 10, 1);
  Read(704 << 10, 1);
  ASSERT_TRUE(Order("vm", "trace", "stop=yes"));
  EXPECT_EQ(TraceInInfo(), "");
  EXPECT_TRUE(tells("0"));
  uint64_t cursor = 1;
  bool too_small = false;
  const std::string events = plane_->events.Read(&cursor, 1 << 20, &too_small);
  for (const char* event : {"TRACE_STARTED", "TRACE_STOPPED"}) {
    EXPECT_NE(
        events.find(std::string("\"") + event + "\",\"disk\":\"vm\",\"file\":\"/mem/vm.trace\"}"),
        std::string::npos)
        << events;
  }
  EXPECT_EQ(Text("vm.trace"), std::string(kNothing) + "655360 65536\n0 131072\n720896 65536\n");
  Read(128 << 10, 512);  // afterwards
  EXPECT_EQ(Refused("vm", "trace", "stop=yes"), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(Order("vm", "trace", "file=again.trace"));
  ASSERT_TRUE(Order("vm", "trace", "stop=yes"));
  EXPECT_EQ(Text("again.trace"), kNothing);
}

TEST_F(ReadTracesTest, WhatIsWrongIsRefusedAndLeavesNothing) {
  EXPECT_EQ(Refused("vm", "trace"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "trace", "file=a.trace,stop=yes"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "trace", "stop=no"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "trace", "file=new.qcow2"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("vm", "trace", "file=vm.qcow2"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(Refused("", "trace", "file=a.trace"), ErrorKind::kUnsupported);
  host_->PutFile("there", {});
  EXPECT_EQ(Refused("vm", "trace", "file=there"), ErrorKind::kExists);
  ASSERT_TRUE(Order("vm", "trace", "file=a.trace,dry-run=yes"));
  EXPECT_FALSE(host_->Exists("a.trace"));
  ASSERT_TRUE(Order("vm", "trace", "file=a.trace"));
  EXPECT_EQ(Refused("vm", "trace", "file=b.trace"), ErrorKind::kBusy);
  EXPECT_FALSE(host_->Exists("b.trace"));
  EXPECT_FALSE(host_->Exists("new.qcow2"));
}

TEST_F(ReadTracesTest, AFailureLeavesNoFileAndARecordingThatIsOver) {
  for (const HostOp op : {HostOp::kWrite, HostOp::kDataSync}) {
    host_->AddFault({.matches = On(op, "a.trace"), .error = ENOSPC});
    EXPECT_EQ(Refused("vm", "trace", "file=a.trace"), ErrorKind::kNoSpace);
    EXPECT_FALSE(host_->Exists("a.trace"));
    EXPECT_EQ(TraceInInfo(), "");
    host_->ClearFaults();
    ASSERT_TRUE(Order("vm", "trace", "file=a.trace"));
    host_->AddFault({.matches = On(op, "a.trace"), .error = ENOSPC});
    const Status stopped = Order("vm", "trace", "stop=yes");
    EXPECT_TRUE(SentenceOf(stopped).starts_with("/mem/a.trace: what was read of vm is lost: "))
        << SentenceOf(stopped);
    EXPECT_FALSE(host_->Exists("a.trace"));
    EXPECT_EQ(TraceInInfo(), "");
    host_->ClearFaults();
  }
}

TEST_F(ReadTracesTest, TheEndOfTheDaemonWritesThem) {
  ASSERT_TRUE(Order("vm", "trace", "file=vm.trace"));
  Read(0, 512);
  Close();
  EXPECT_EQ(Text("vm.trace"), std::string(kNothing) + "0 65536\n");
}

TEST_F(ReadTracesTest, AReadOnlyMountRecordsNothing) {
  Open({.read_only = true});
  EXPECT_EQ(Refused("vm", "trace", "file=vm.trace"), ErrorKind::kReadOnly);
  EXPECT_FALSE(host_->Exists("vm.trace"));
}

// What a disk that has gone has left makes room for others.
TEST_F(ReadTracesTest, SoManyAreRecordedAtOnce) {
  for (size_t i = 0; i < ReadTraces::kMostTraces; ++i) Make(fmt::format("d{}.qcow2", i));
  ASSERT_TRUE(catalog_->Rescan());
  for (size_t i = 0; i < ReadTraces::kMostTraces; ++i) {
    ASSERT_TRUE(Order(fmt::format("d{}", i), "trace", fmt::format("file=d{}.trace", i)));
  }
  Read(0, 512, "d3");
  EXPECT_EQ(Refused("vm", "trace", "file=vm.trace"), ErrorKind::kBusy);
  ASSERT_TRUE(host_->OpenRoot()->Remove("d3.qcow2"));
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_TRUE(Order("vm", "trace", "file=vm.trace"));
  EXPECT_TRUE(Text("d3.trace").ends_with("\n0 65536\n")) << Text("d3.trace");
}

}  // namespace
}  // namespace chainfs::control
