// SPDX-License-Identifier: Apache-2.0
//
// What a layer holds goes, because the layer below shows the same by now, while stacks whose index
// names the old places are being read (Q2-11, CHN-4).
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/layer_stack.h"
#include "blocklayer/chain/stack_registry.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"

namespace chainfs {
namespace {

using Buffer = std::vector<std::byte>;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kSize = 1 << 20;

class UnpopulateTest : public testing::Test {
 protected:
  LayerPtr Make(const std::string& name, const char* below) {
    Qcow2CreateOptions options{.virtual_size = kSize, .cluster_bits = 12};
    if (below != nullptr) options.backing = BackingReference{.name = below, .format = "qcow2"};
    auto file = CreateQcow2(*host_->OpenRoot(), name, options).value();
    auto layer = std::make_shared<Layer>();
    layer->path = "/mem/" + name;
    layer->name = name;
    layer->owner_id = context_.metadata().NewOwner();
    layer->image =
        OpenQcow2Image(std::move(file), context_.metadata(), {.owner = layer->owner_id}).value();
    return layer;
  }
  // A part of `upper` at a time, as a commit does when `lower` has all of it durably.
  void Reclaim(const LayerPtr& upper, uint64_t clusters) {
    WritableImage& image = *upper->image->writer();
    for (uint64_t at = 0; at < kSize; at += clusters * kCluster) {
      const IoEpoch::Guard guard = image.io_epoch().Enter();
      ASSERT_TRUE(image.Unpopulate(GuestOffset(at), clusters * kCluster));
      ASSERT_TRUE(image.Flush());
      for (const auto& stack : context_.stacks().StacksOf(*upper)) {
        stack->DropRegions(GuestOffset(at), clusters * kCluster);
      }
    }
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  BlockContext context_{MemoryLimits{}};
};

TEST_F(UnpopulateTest, ReadersSeeTheSameAllTheTimeAndTheSpaceGoesBack) {
  const LayerPtr lower = Make("lower.qcow2", nullptr);
  const LayerPtr upper = Make("upper.qcow2", "lower.qcow2");
  Buffer shown(kSize);
  Random random;
  random.Fill(shown);
  for (const LayerPtr& layer : {lower, upper}) {
    ASSERT_TRUE(layer->image->writer()->Write(GuestOffset(0), shown, nullptr));
    ASSERT_TRUE(layer->image->writer()->Flush());
  }
  const uint64_t before = upper->image->AllocatedBytes().value();
  const auto stack = LayerStack::Make({upper, lower}, context_).value();
  const auto other = LayerStack::Make({upper}, context_).value();
  std::atomic<bool> stop = false;
  std::atomic<int> reads = 0;
  const auto wait_for_reads = [&] {
    for (const int enough = reads + 200; reads < enough && !HasFailure();) {
      std::this_thread::yield();
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&, mine = random.Fork()]() mutable {
      Buffer out(3 * kCluster);
      for (; !stop && !HasFailure(); ++reads) {
        const uint64_t at = mine.Below(kSize - out.size());
        ASSERT_TRUE(stack->ReadBelow(GuestOffset(at), out));
        ASSERT_TRUE(std::ranges::equal(out, std::span(shown).subspan(at, out.size()))) << at;
      }
    });
  }
  wait_for_reads();
  Reclaim(upper, 8);
  // What others put into the image meanwhile may lie where the old data was.
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(upper->image->writer()->Flush());
  ASSERT_TRUE(upper->image->writer()->PopulateZeroes(GuestOffset(0), kCluster));
  ASSERT_TRUE(upper->image->writer()->Unpopulate(GuestOffset(0), kCluster));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(upper->image->writer()->Flush());
  wait_for_reads();
  stop = true;
  for (std::thread& reader : readers) reader.join();
  Buffer all(kSize);
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), all));
  EXPECT_EQ(all, shown);
  ASSERT_TRUE(other->ReadBelow(GuestOffset(0), all));
  EXPECT_EQ(all, Buffer(kSize)) << "nothing is left in it";
  EXPECT_LE(upper->image->AllocatedBytes().value() + kSize, before);
}

// That the above would fail without the guard: the index goes on naming places that are gone.
TEST_F(UnpopulateTest, AnIndexThatWasNotDroppedIsStale) {
  const LayerPtr lower = Make("lower.qcow2", nullptr);
  const LayerPtr upper = Make("upper.qcow2", "lower.qcow2");
  const Buffer shown(kSize, std::byte{7});
  for (const LayerPtr& layer : {lower, upper}) {
    ASSERT_TRUE(layer->image->writer()->Write(GuestOffset(0), shown, nullptr));
    ASSERT_TRUE(layer->image->writer()->Flush());
  }
  const auto stack = LayerStack::Make({upper, lower}, context_).value();
  Buffer all(kSize);
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), all));
  ASSERT_TRUE(upper->image->writer()->Unpopulate(GuestOffset(0), kSize));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(upper->image->writer()->Flush());
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), all));
  EXPECT_NE(all, shown);
  stack->DropRegions(GuestOffset(0), kSize);
  ASSERT_TRUE(stack->ReadBelow(GuestOffset(0), all));
  EXPECT_EQ(all, shown);
}

}  // namespace
}  // namespace chainfs
