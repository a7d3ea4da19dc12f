// SPDX-License-Identifier: Apache-2.0
//
// StackRegistry: reading a layer beneath others and writing it exclude each other.
#include "blocklayer/chain/stack_registry.h"

#include <gtest/gtest.h>

#include "blocklayer/base/wake_up.h"
#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/layer_stack.h"
#include "tests/unit/catalog/catalog_fixture.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs {
namespace {

constexpr uint32_t kCluster = 4096;

class StackRegistryTest : public testing::Test {
 protected:
  StackRegistryTest() {
    for (int i = 0; i < 3; ++i) chain_.Add(1 << 20, kCluster);
    context_.wake_up().Set([this] { ++woken_; });
  }
  StackRegistry& registry() { return context_.stacks(); }
  const Layer& base() { return *chain_.layers().back(); }
  std::shared_ptr<const LayerStack> Stack(size_t from) {
    const Layers& layers = chain_.layers();
    auto stack = LayerStack::Make(
        Layers(layers.begin() + static_cast<ptrdiff_t>(from), layers.end()), context_);
    return stack ? *stack : nullptr;
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
  ChainBuilder chain_{context_, *host_};
  int woken_ = 0;
};

TEST_F(StackRegistryTest, ABackedLayerIsNotWritten) {
  auto one = Stack(0);
  auto two = Stack(1);
  EXPECT_TRUE(registry().IsBacked(base()));
  EXPECT_FALSE(registry().BeginWriting(base()));
  one.reset();
  EXPECT_EQ(woken_, 0) << "another stack still has it";
  EXPECT_FALSE(registry().BeginWriting(base()));
  two.reset();
  EXPECT_EQ(woken_, 1);
  EXPECT_TRUE(registry().BeginWriting(base()));
  registry().EndWriting(base());
}

TEST_F(StackRegistryTest, AWrittenLayerGetsIntoNoStack) {
  ASSERT_TRUE(registry().BeginWriting(base()));
  EXPECT_FALSE(registry().BeginWriting(base())) << "one writer";
  EXPECT_EQ(Stack(0), nullptr);
  EXPECT_FALSE(registry().IsBacked(base())) << "what was refused is not counted";
  registry().EndWriting(base());
  EXPECT_NE(Stack(0), nullptr);
}

TEST_F(StackRegistryTest, NobodyIsWokenUpWhoDoesNotWait) {
  Stack(0).reset();
  EXPECT_EQ(woken_, 0);
}

TEST_F(StackRegistryTest, WhatWasWrittenMeanwhileIsShown) {
  // The index of the old stack knows nothing of the cluster that is written between.
  chain_.FillData(0, Buffer(kCluster, std::byte{1}));
  Buffer out(kCluster);
  ASSERT_TRUE(Stack(0)->ReadBelow(GuestOffset(kCluster), out));
  Layer& top = *chain_.layers().front();
  ASSERT_TRUE(registry().BeginWriting(top));
  AsFake(chain_.layers().front()).PutData(1, Buffer(kCluster, std::byte{7}));
  registry().EndWriting(top);
  ASSERT_TRUE(Stack(0)->ReadBelow(GuestOffset(kCluster), out));
  EXPECT_EQ(out, Buffer(kCluster, std::byte{7}));
}

// base <- middle <- top; whoever holds the old list of layers keeps what it names from changing.
class StillBackedTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("base.qcow2");
    MakeOverlay("middle.qcow2", "base.qcow2");
    MakeOverlay("top.qcow2", "middle.qcow2");
    ASSERT_TRUE(OpenAll());
    top_ = catalog_->Find("top");
    middle_ = catalog_->Find("middle");
    ASSERT_TRUE(top_ != nullptr && middle_ != nullptr);
  }
  // As at the end of a stream with base as its base.
  void LeaveOutMiddle() {
    const Layers layers = top_->chain()->AllLayers();
    const BackingReference base{.name = "base.qcow2", .format = "qcow2"};
    ASSERT_TRUE(layers[0]->image->writer()->SetBacking(base));
    catalog_->DropLayersBetween(layers[0], layers[2]);
  }

  DiskPtr top_;
  DiskPtr middle_;
};

TEST_F(StillBackedTest, AReadThatBeganBeforeKeepsALayerReadOnly) {
  int woken = 0;
  catalog_->SetWakeUp([&] { ++woken; });
  ChainPtr read_under_way = top_->chain();
  LeaveOutMiddle();
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_TRUE(middle_->read_only());
  EXPECT_NE(NoteOf("middle"), "");
  const std::string data(512, 'x');
  EXPECT_EQ(middle_->Write(GuestOffset(0), std::as_bytes(std::span(data))).error().kind,
            ErrorKind::kReadOnly);
  EXPECT_EQ(woken, 0);
  read_under_way.reset();
  EXPECT_EQ(woken, 1) << "a scan is due now, though no file has changed";
  ASSERT_TRUE(catalog_->Rescan());
  EXPECT_FALSE(middle_->read_only());
  catalog_->SetWakeUp({});
}

TEST_F(StillBackedTest, AnOldStackIsNotGivenToANewOverlay) {
  {
    const Layers layers = top_->chain()->AllLayers();
    LeaveOutMiddle();
  }
  ASSERT_TRUE(catalog_->Rescan());
  ASSERT_FALSE(middle_->read_only());
  Fill(middle_, 0, 65536, 'm');
  MakeOverlay("new.qcow2", "middle.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  const DiskPtr overlay = catalog_->Find("new");
  ASSERT_NE(overlay, nullptr);
  EXPECT_EQ(Peek(overlay, 0, 4), "mmmm");
  EXPECT_TRUE(middle_->read_only());
}

}  // namespace
}  // namespace chainfs
