// SPDX-License-Identifier: Apache-2.0
//
// New images appear by themselves, and who waits for them waits no longer than agreed.
#include "ctl/control/source_watcher.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "tests/support/temp_dir.h"

namespace chainfs::control {
namespace {

using namespace std::chrono_literals;

class SourceWatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    auto catalog =
        Catalog::Open({{.path = dir_.path(), .name = std::nullopt, .format = std::nullopt}}, {});
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    watcher_ = std::make_unique<SourceWatcher>(*catalog_, [this] { ++scans_; });
  }
  void TearDown() override {
    watcher_.reset();
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
  }
  void MakeImage(const std::string& name) const {
    WriteTextFile(dir_ / name, std::string(4096, 'x'));
  }
  template <typename Condition>
  static bool Eventually(const Condition& condition) {
    const auto guard = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > guard) return false;
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  const TempDir dir_;
  std::unique_ptr<Catalog> catalog_;
  std::atomic<int> scans_ = 0;
  std::unique_ptr<SourceWatcher> watcher_;
};

TEST_F(SourceWatcherTest, ANewImageAppearsByItself) {
  watcher_->Start();
  MakeImage("new.raw");
  EXPECT_TRUE(Eventually([this] { return catalog_->Find("new") != nullptr; }));
  ASSERT_EQ(::unlink((dir_ / "new.raw").c_str()), 0);
  EXPECT_TRUE(Eventually([this] { return catalog_->Find("new") == nullptr; }));
}

TEST_F(SourceWatcherTest, WhoAsksWhileThereIsNewsWaitsForTheScan) {
  watcher_->Start();
  ASSERT_TRUE(Eventually([this] { return scans_ > 0; }));
  MakeImage("new.raw");
  std::atomic<bool> found = false;
  std::atomic<bool> answered = false;
  const auto answer = [&] {
    found = catalog_->Find("new") != nullptr;
    answered = true;
  };
  if (!watcher_->AfterScan(watcher_->NewTicket(), 60s, answer)) answer();  // it was quicker
  EXPECT_TRUE(Eventually([&] { return answered.load(); }));
  EXPECT_TRUE(found);
}

TEST_F(SourceWatcherTest, AScanIsMadeForWhoInsists) {
  watcher_->Start();
  ASSERT_TRUE(Eventually([this] { return scans_ > 0; }));
  const int before = scans_;
  std::atomic<bool> answered = false;
  EXPECT_TRUE(watcher_->AfterScan(watcher_->NewTicket(), 60s, [&] { answered = true; }, true));
  EXPECT_TRUE(Eventually([&] { return answered.load(); }));
  EXPECT_GT(scans_, before);
  watcher_->ScanSoon();
  EXPECT_TRUE(Eventually([&] { return scans_ > before + 1; }));
}

TEST_F(SourceWatcherTest, PatienceEnds) {
  watcher_->Start();
  std::atomic<int> answered = 0;
  const auto answer = [&answered] { ++answered; };
  EXPECT_TRUE(watcher_->AfterNewDisk(watcher_->NewTicket(), 1ms, answer));
  EXPECT_TRUE(Eventually([&] { return answered == 1; }));
  const uint64_t ticket = watcher_->NewTicket();
  EXPECT_TRUE(watcher_->AfterNewDisk(ticket, 1h, answer));
  watcher_->Hurry(ticket + 1);
  watcher_->Hurry(ticket);
  EXPECT_TRUE(Eventually([&] { return answered == 2; })) << "who is interrupted is let go";
  EXPECT_TRUE(watcher_->AfterNewDisk(watcher_->NewTicket(), 1h, answer));
  watcher_->DiskAppeared();
  EXPECT_TRUE(Eventually([&] { return answered == 3; }));
}

TEST_F(SourceWatcherTest, WhatWaitsAtTheEndIsAnsweredOnce) {
  watcher_->Start();
  std::atomic<int> answered = 0;
  const auto answer = [&answered] { ++answered; };
  EXPECT_TRUE(watcher_->AfterNewDisk(watcher_->NewTicket(), 1h, answer));
  watcher_->Stop();
  EXPECT_EQ(answered, 1);
  EXPECT_FALSE(watcher_->AfterNewDisk(watcher_->NewTicket(), 1h, answer));
  EXPECT_FALSE(watcher_->AfterScan(watcher_->NewTicket(), 1h, answer, true));
  EXPECT_EQ(answered, 1);
}

}  // namespace
}  // namespace chainfs::control
