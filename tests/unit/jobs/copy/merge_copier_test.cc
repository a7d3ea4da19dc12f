// SPDX-License-Identifier: Apache-2.0
//
// MergeCopier between random layers and a base that gives what it frees to others at once, while
// others read through the stack.
#include "jobs/copy/merge_copier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "jobs/copy/stack_source.h"
#include "tests/support/effort.h"
#include "tests/unit/chain/fake_image.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kLargest = 64 << 10;  // cluster

class MergeCopierTest : public testing::Test {
 protected:
  uint32_t Cluster() { return 512u << random_.Below(8); }
  uint64_t Size() { return random_.Between(6, 12) * kLargest; }

  // Some layers below, the base, some above.
  void Build() {
    host_ = MemHost::Create();
    chain_.emplace(context_, *host_);
    const bool raw_base = random_.OneIn(4);
    if (raw_base) {
      chain_->AddRawBase(random_, Size(), /*read_only=*/false);
    } else {
      while (random_.OneIn(2)) chain_->AddRandom(random_, Size(), Cluster());
      chain_->AddRandom(random_, Size(), Cluster(), /*reuse=*/true);
    }
    old_base_ = chain_->shown();
    const size_t below = chain_->layers().size() - 1;
    for (uint64_t i = random_.Between(1, 3); i > 0; --i) {
      chain_->AddRandom(random_, Size(), Cluster());
    }
    const Layers& layers = chain_->layers();
    merged_ = layers.size() - 1 - below;
    base_ = layers[merged_];
    all_ = LayerStack::Make(layers, context_).value();
    below_ = Below(merged_ + 1);
  }
  std::shared_ptr<const LayerStack> Below(size_t from) {
    const Layers& layers = chain_->layers();
    if (from == layers.size()) return nullptr;
    return LayerStack::Make(Layers(layers.begin() + static_cast<ptrdiff_t>(from), layers.end()),
                            context_)
        .value();
  }
  void ExpectUnchanged() {
    Buffer read(chain_->shown().size());
    ASSERT_TRUE(all_->ReadBelow(GuestOffset(0), read));
    ASSERT_EQ(read, chain_->shown());
  }
  void CopyAll(MergeCopier& copier) {
    const uint64_t size = all_->size();
    std::vector<uint64_t> starts;
    for (uint64_t at = 0; at < size; at += kLargest) starts.push_back(at);
    for (size_t i = starts.size(); i > 1; --i) std::swap(starts[i - 1], starts[random_.Below(i)]);
    starts.push_back(starts.front());
    for (const uint64_t at : starts) {
      const ChunkResult copied = copier.Process(at, std::min(kLargest, size - at));
      ASSERT_TRUE(copied) << copied.error().error.message;
    }
  }
  // Up to the end of top what it showed, behind that what it had.
  void ExpectMerged() {
    const auto based = Below(merged_);
    Buffer expected = old_base_;
    expected.resize(std::max(expected.size(), chain_->shown().size()));
    std::ranges::copy(chain_->shown(), expected.begin());
    ASSERT_EQ(based->size(), expected.size());
    Buffer read(expected.size());
    ASSERT_TRUE(based->ReadBelow(GuestOffset(0), read));
    const auto at = std::ranges::mismatch(read, expected).in1 - read.begin();
    ASSERT_EQ(at, static_cast<ptrdiff_t>(read.size())) << "of top's " << chain_->shown().size();
  }

  Random random_;
  std::shared_ptr<MemHost> host_;
  BlockContext context_{MemoryLimits{}};
  std::optional<ChainBuilder> chain_;
  Buffer old_base_;
  size_t merged_ = 0;  // layers above base
  LayerPtr base_;
  std::shared_ptr<const LayerStack> all_;
  std::shared_ptr<const LayerStack> below_;
};

TEST_F(MergeCopierTest, BaseShowsWhatWasAboveAndTheStackWhatItShowed) {
  for (int round = 0; round < Effort(24); ++round) {
    Build();
    Buffer warm(old_base_.size());
    const auto based = Below(merged_);
    ASSERT_TRUE(based->ReadBelow(GuestOffset(0), warm)) << "its index is there, and grows old";
    const StackSource source(all_);
    MergeCopier copier(context_, source, static_cast<uint32_t>(merged_), base_, below_);
    ExpectUnchanged();
    ASSERT_TRUE(copier.EnlargeBase(all_->size()));
    ExpectUnchanged();
    CopyAll(copier);
    if (HasFatalFailure()) return;
    ExpectUnchanged();
    copier.ForgetAllPlaces();
    ExpectMerged();
    if (HasFatalFailure()) return;
  }
}

TEST_F(MergeCopierTest, NobodyReadsAPlaceThatWasGivenAway) {
  for (int round = 0; round < Effort(6); ++round) {
    Build();
    const StackSource source(all_);
    MergeCopier copier(context_, source, static_cast<uint32_t>(merged_), base_, below_);
    ASSERT_TRUE(copier.EnlargeBase(all_->size()));
    std::atomic<bool> stop = false;
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i) {
      readers.emplace_back([&, mine = random_.Fork()]() mutable {
        const Buffer& shown = chain_->shown();
        while (!stop) {
          const uint64_t at = mine.Below(shown.size());
          Buffer read(std::min<uint64_t>(shown.size() - at, mine.Between(1, 20'000)));
          EXPECT_TRUE(all_->ReadBelow(GuestOffset(at), read));
          EXPECT_TRUE(std::ranges::equal(read, std::span(shown).subspan(at, read.size()))) << at;
        }
      });
    }
    CopyAll(copier);
    CopyAll(copier);
    stop = true;
    for (std::thread& reader : readers) reader.join();
    copier.ForgetAllPlaces();
    ExpectMerged();
    if (HasFailure()) return;
  }
}

TEST_F(MergeCopierTest, AnEstimateIsNoLessThanWhatIsCopied) {
  for (int round = 0; round < Effort(8); ++round) {
    Build();
    const StackSource source(all_);
    MergeCopier copier(context_, source, static_cast<uint32_t>(merged_), base_, below_);
    const ChunkResult planned = copier.Estimate(0, all_->size());
    ASSERT_TRUE(planned);
    ASSERT_TRUE(copier.EnlargeBase(all_->size()));
    const ChunkResult copied = copier.Process(0, all_->size());
    ASSERT_TRUE(copied) << copied.error().error.message;
    EXPECT_LE(*copied, *planned + kLargest);
  }
}

}  // namespace
}  // namespace chainfs::jobs
