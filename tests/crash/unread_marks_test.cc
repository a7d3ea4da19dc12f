// SPDX-License-Identifier: Apache-2.0
//
// Marks of layers (left_out.h) that the host cannot read just now: nobody takes that for no mark.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 16 * 1024;

class UnreadMarks : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    Random random;
    Guest guest(nullptr, kSize);
    BuildChain(host_,
               {{.file = "base.qcow2", .size = kSize},
                {.file = "mid.qcow2", .below = "base.qcow2", .size = kSize},
                {.file = "vm.qcow2", .below = "mid.qcow2", .size = kSize}},
               guest, random);
    // As if a stream had merged it into mid.
    BuildChain(host_, {{.file = "left.qcow2", .size = kSize}}, guest, random);
    if (HasFatalFailure()) return;
    Open();
    const Layers layers = catalog_->Find("vm")->chain()->AllLayers();
    ChainMoves& moves = catalog_->moves();
    ASSERT_TRUE(moves.MarkChanging(*catalog_->Find("vm"), {layers[1], layers[2]}, *layers[0], "j"));
    ASSERT_TRUE(catalog_->MarkLeftOut(*catalog_->Find("vm"), *layers[1],
                                      {catalog_->Find("left")->chain()->active}));
  }
  void Open() {
    catalog_.reset();
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
  }
  void FailMarks(HostOp op) {
    host_->AddFault({.matches =
                         [op](const HostCall& call) {
                           return call.op == op && call.name.find("merged-") != std::string::npos;
                         },
                     .forever = true});
  }
  void ExpectReadOnly(const std::string& name, const std::string& why) {
    const DiskPtr disk = catalog_->Find(name);
    ASSERT_NE(disk, nullptr) << name;
    EXPECT_TRUE(disk->read_only()) << name;
    EXPECT_NE(disk->ReadOnlyReason().find(why), std::string::npos) << disk->ReadOnlyReason();
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(UnreadMarks, NothingIsTakenForWholeAtTheStart) {
  for (const HostOp op : {HostOp::kOpen, HostOp::kRead, HostOp::kStat}) {
    SCOPED_TRACE(HostOpName(op));
    FailMarks(op);
    Open();
    ExpectReadOnly("left", "unknown");
    ExpectReadOnly("mid", "unknown");
    // Whether it covers what has changed is what nobody knows.
    EXPECT_EQ(catalog_->Find("vm"), nullptr);
    const auto broken = catalog_->Broken();
    const auto vm = std::ranges::find(broken, "vm", &BrokenImage::name);
    ASSERT_NE(vm, broken.end());
    EXPECT_NE(vm->error.message.find("which it is built on, is unknown"), std::string::npos)
        << vm->error.message;
    EXPECT_TRUE(catalog_->NextRetry()) << "it may pass";
    host_->ClearFaults();
    ASSERT_TRUE(catalog_->Rescan());
    ASSERT_NE(catalog_->Find("vm"), nullptr);
    EXPECT_FALSE(catalog_->Find("vm")->read_only()) << catalog_->Find("vm")->ReadOnlyReason();
    ExpectReadOnly("left", "has merged it into");
    ExpectReadOnly("mid", "only /mem/vm.qcow2");
  }
}

TEST_F(UnreadMarks, WhatWasReadOnceStays) {
  Open();
  for (const HostOp op : {HostOp::kOpen, HostOp::kRead, HostOp::kStat}) {
    SCOPED_TRACE(HostOpName(op));
    FailMarks(op);
    ASSERT_TRUE(catalog_->Rescan());
    ExpectReadOnly("left", "has merged it into");
    ExpectReadOnly("mid", "only /mem/vm.qcow2");
    EXPECT_FALSE(catalog_->Find("vm")->read_only());
    // It is known here, so it can be taken away as well.
    const DiskPtr vm = catalog_->Find("vm");
    const Layers layers = vm->chain()->AllLayers();
    EXPECT_TRUE(catalog_->moves().EndedWell(*vm, *layers[1], *layers[0]));
    host_->ClearFaults();
    ASSERT_TRUE(catalog_->moves().MarkChanging(*vm, {layers[1]}, *layers[0], "j"));
  }
}

// Nor does a job overwrite, or take away, what nobody can read.
TEST_F(UnreadMarks, NobodyWritesOverThem) {
  FailMarks(HostOp::kRead);
  Open();
  const DiskPtr mid = catalog_->Find("mid");
  ASSERT_NE(mid, nullptr);
  const Layers layers = mid->chain()->AllLayers();
  ChainMoves& moves = catalog_->moves();
  EXPECT_FALSE(moves.MarkChanging(*mid, {layers[1]}, *layers[0], "other"));
  EXPECT_FALSE(moves.EndedWell(*mid, *layers[1], *layers[0]));
  EXPECT_FALSE(moves.UnmarkChanging({layers[1]}));
  EXPECT_FALSE(moves.Changing(*layers[1]));
  EXPECT_FALSE(catalog_->MarkLeftOut(*mid, *layers[0], {layers[1]}));
  EXPECT_FALSE(catalog_->Revert(mid, *layers[1], true, true));
  host_->ClearFaults();
  Open();
  ExpectReadOnly("base", "only /mem/vm.qcow2");
}

// Where not even their names can be told, nothing is mounted.
TEST_F(UnreadMarks, WithoutTheirNamesNothingIsShown) {
  uint64_t failed = 0;
  for (uint64_t n = 0;; ++n) {
    ASSERT_LT(n, 1000u);
    host_->AddFault({.matches = On(HostOp::kList), .skip = n});
    auto catalog = OpenMemCatalog(host_);
    const bool struck = !catalog;
    if (catalog) {
      for (const DiskPtr& disk : (*catalog)->Disks()) {
        EXPECT_TRUE(disk->name() == "vm" || disk->read_only()) << n << ": " << disk->name();
      }
    }
    if (struck) ++failed;
    const bool over = catalog && n > 20;
    host_->ClearFaults();
    if (over) break;
  }
  EXPECT_GT(failed, 0u);
}

}  // namespace
}  // namespace chainfs
