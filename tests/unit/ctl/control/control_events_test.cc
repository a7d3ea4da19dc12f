// SPDX-License-Identifier: Apache-2.0
//
// What changes of the catalog become: calls of the presentation, events, last errors (CTL-4).
#include "ctl/control/catalog_events.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

Words NamesOf(const std::vector<json>& events) {
  Words names;
  for (const json& event : events) names.push_back(event["event"]);
  return names;
}

TEST_F(ControlTest, WhoPresentsIsToldOfWhatIsThere) {
  Make("a.qcow2");
  Make("b.qcow2");
  Open();
  EXPECT_EQ(shown_.Take(), (Words{"+a", "+b"}));
  EXPECT_TRUE(Events().empty());
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(shown_.Take().empty());
}

TEST_F(ControlTest, DisksComeAndGo) {
  Make("a.qcow2");
  Open();
  (void)shown_.Take();
  Make("b.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(shown_.Take(), Words{"+b"});
  EXPECT_NE(plane_->disks.Find("b"), nullptr);
  ASSERT_TRUE(host_->OpenRoot()->RemoveFile("b.qcow2", Find("b")->chain()->active->id));
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(shown_.Take(), Words{"-b"});
  EXPECT_EQ(plane_->disks.Find("b"), nullptr);
}

TEST_F(ControlTest, ASnapshotIsToldWhenItsDiskIsThere) {
  Make("vm.qcow2");
  Open();
  (void)shown_.Take();
  ASSERT_TRUE(Order("vm", "snapshot"));
  // What was active is a disk of its own by the time that anybody hears of the change.
  EXPECT_EQ(shown_.Take(), (Words{"+vm.qcow2", "a vm"}));
  const auto events = Events();
  ASSERT_EQ(NamesOf(events), Words{"CHAIN_CHANGE"});
  EXPECT_EQ(events[0]["disk"], "vm");
  EXPECT_EQ(events[0]["generation"], Find("vm")->chain()->generation);
}

TEST_F(ControlTest, ANamedSnapshotChangesTheChainBeforeItCompletes) {
  Make("vm.qcow2");
  Open();
  ASSERT_TRUE(Order("vm", "snapshot", "id=s"));
  const Words names = NamesOf(Events());
  const auto changed = std::ranges::find(names, "CHAIN_CHANGE");
  const auto completed = std::ranges::find(names, "BLOCK_JOB_COMPLETED");
  ASSERT_NE(changed, names.end());
  ASSERT_NE(completed, names.end());
  EXPECT_LT(changed, completed);
}

TEST_F(ControlTest, AStreamChangesTheChainBeforeItCompletes) {
  Make("a.qcow2");
  Make("b.qcow2", "a.qcow2");
  Make("c.qcow2", "b.qcow2");
  Make("d.qcow2", "c.qcow2");
  Open();
  ASSERT_TRUE(Order("d", "stream", "id=s,top=c.qcow2"));
  WaitConcluded("d", "s");
  Words changed;
  for (const json& event : Events()) {
    if (event["event"] == "CHAIN_CHANGE") changed.push_back(event["disk"]);
    if (event["event"] == "BLOCK_JOB_COMPLETED") break;
  }
  std::ranges::sort(changed);
  EXPECT_EQ(changed, (Words{"c", "d"})) << "each disk that contains top, before the end";
  EXPECT_EQ(Layers("d"), (Words{"d.qcow2", "c.qcow2"}));
}

TEST_F(ControlTest, ARevertShowsOtherContentsBeforeItIsTold) {
  Make("vm.qcow2");
  Open();
  ASSERT_TRUE(Order("vm", "snapshot"));
  (void)shown_.Take();
  ASSERT_TRUE(Order("vm", "revert", "to=vm.qcow2,yes=yes"));
  const Words told = shown_.Take();
  const auto contents = std::ranges::find(told, "c vm");
  ASSERT_NE(contents, told.end());
  EXPECT_EQ(told.back(), "a vm");
  EXPECT_EQ(NamesOf(Events()), (Words{"CHAIN_CHANGE", "CHAIN_CHANGE"}));
}

TEST_F(ControlTest, AFailureIsToldOncePerSecond) {
  Make("vm.qcow2");
  Open();
  const DiskPtr disk = Find("vm");
  const std::string data(65536, 'x');
  ASSERT_TRUE(disk->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  host_->AddFault({.matches = On(HostOp::kDataSync, "vm.qcow2"), .forever = true});
  EXPECT_FALSE(disk->Flush());
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(disk->Flush());
  const auto told = std::ranges::count(NamesOf(Events()), "BLOCK_IO_ERROR");
  EXPECT_GE(told, 1);
  EXPECT_LE(told, 3);
  const json last = json::parse(plane_->errors.Of(plane_->disks.Find("vm").get()));
  EXPECT_EQ(last["errno"], "EIO");
}

TEST_F(ControlTest, EverythingEndsOnce) {
  Make("vm.qcow2");
  Open();
  plane_->EndJobs();
  plane_->EndJobs();
  EXPECT_EQ(NamesOf(Events()), Words{"SHUTDOWN"});
}

TEST_F(ControlTest, NobodyNeedPresent) {
  Make("vm.qcow2");
  Open();
  plane_->Present(nullptr);
  (void)shown_.Take();
  ASSERT_TRUE(Order("vm", "snapshot"));
  ASSERT_TRUE(Order("", "release-events"));
  EXPECT_TRUE(shown_.Take().empty());
  EXPECT_NE(plane_->disks.Find("vm.qcow2"), nullptr);
  EXPECT_EQ(NamesOf(Events()), Words{"CHAIN_CHANGE"});
}

// Holds whoever tells it of a disk until it is let go.
class SlowPresentation final : public Presentation {
 public:
  void DiskAdded(const ServedDiskPtr& disk) override {
    if (disk->disk->name() != "new") return;
    inside = true;
    while (!let_go) std::this_thread::yield();
  }
  void DiskRemoved(const Disk&) override {}
  void AttributesChanged(const Disk&) override {}
  void ContentsChanged(const Disk&) override {}
  void ReleaseEventReaders() override {}

  std::atomic<bool> inside = false;
  std::atomic<bool> let_go = false;
};

TEST_F(ControlTest, APresentationMayGoWhileAScanTellsItOfSomething) {
  Make("vm.qcow2");
  Open();
  SlowPresentation slow;
  plane_->Present(&slow);
  Make("new.qcow2");
  std::thread scanning([&] { EXPECT_TRUE(catalog_->Rescan()); });
  while (!slow.inside) std::this_thread::yield();
  std::atomic<bool> gone = false;
  std::thread leaving([&] {
    plane_->Present(nullptr);
    gone = true;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(gone);
  slow.let_go = true;
  leaving.join();
  scanning.join();
  EXPECT_NE(plane_->disks.Find("new"), nullptr);
}

}  // namespace
}  // namespace chainfs::control
