// SPDX-License-Identifier: Apache-2.0
//
// What the catalog tells its observer: in order, and before the change returns to whoever made it.
#include <atomic>
#include <chrono>
#include <thread>

#include "blocklayer/base/sync.h"
#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

// Writes down what it is told, and runs `on_added` when a disk is added.
class Listener : public CatalogObserver {
 public:
  void DiskAdded(const DiskPtr& disk) override {
    Note("+" + disk->name());
    if (on_added) on_added();
  }
  void DiskRemoved(const DiskPtr& disk) override { Note("-" + disk->name()); }
  void ChainChanged(const DiskPtr& disk) override { Note("~" + disk->name()); }
  void ContentsChanged(const DiskPtr& disk) override { Note("=" + disk->name()); }
  void DiskError(const Disk& /*disk*/, std::string_view, const Error&) override {}
  void ImageBroken(const BrokenImage& /*image*/) override {}

  std::vector<std::string> log() const {
    const MutexLock lock(mu_);
    return log_;
  }
  std::function<void()> on_added;

 private:
  void Note(std::string what) {
    const MutexLock lock(mu_);
    log_.push_back(std::move(what));
  }

  mutable Mutex mu_;
  std::vector<std::string> log_ GUARDED_BY(mu_);
};

class CatalogEventsTest : public CatalogTest {
 protected:
  void TearDown() override {
    if (catalog_ != nullptr) catalog_->SetObserver(nullptr);
  }
  void OpenWith(Listener& listener) {
    ASSERT_TRUE(OpenAll());
    catalog_->SetObserver(&listener);
  }
};

using Log = std::vector<std::string>;

TEST_F(CatalogEventsTest, AChangedChainIsToldLast) {
  MakeQcow2("vm1.qcow2");
  Listener listener;
  OpenWith(listener);
  DiskPtr disk = catalog_->Find("vm1");
  ASSERT_TRUE(catalog_->Snapshot(disk, {}));
  EXPECT_EQ(listener.log(), (Log{"+vm1.qcow2", "~vm1"})) << "what was active is a disk by then";
  const LayerPtr base = disk->chain()->AllLayers().back();
  ASSERT_TRUE(catalog_->Revert(disk, *base, false, false));
  const Log log = listener.log();
  ASSERT_FALSE(log.empty());
  EXPECT_EQ(log.back(), "~vm1");
  EXPECT_NE(std::ranges::find(log, "=vm1"), log.end());
}

TEST_F(CatalogEventsTest, AChangeReturnsAfterTheObserverWasToldOfIt) {
  MakeQcow2("vm1.qcow2");
  Listener listener;
  OpenWith(listener);
  std::atomic<bool> held = false;
  std::atomic<bool> let_go = false;
  listener.on_added = [&] {
    if (held.exchange(true)) return;
    while (!let_go) std::this_thread::sleep_for(1ms);
  };
  MakeQcow2("new.qcow2");
  std::thread scanning([&] { EXPECT_TRUE(catalog_->Rescan()); });
  while (!held) std::this_thread::sleep_for(1ms);
  std::atomic<bool> returned = false;
  std::thread changing([&] {
    EXPECT_TRUE(catalog_->Snapshot(catalog_->Find("vm1"), {}));
    const Log log = listener.log();
    EXPECT_NE(std::ranges::find(log, "~vm1"), log.end());
    returned = true;
  });
  std::this_thread::sleep_for(100ms);
  EXPECT_FALSE(returned);
  let_go = true;
  changing.join();
  scanning.join();
}

TEST_F(CatalogEventsTest, AnObserverMayCallTheCatalog) {
  MakeQcow2("vm1.qcow2");
  Listener listener;
  OpenWith(listener);
  listener.on_added = [&] {
    listener.on_added = {};
    MakeQcow2("second.qcow2");
    EXPECT_TRUE(catalog_->Rescan());
  };
  MakeQcow2("first.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_EQ(listener.log(), (Log{"+first", "+second"}));
}

}  // namespace
}  // namespace chainfs
