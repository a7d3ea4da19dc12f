// SPDX-License-Identifier: Apache-2.0
//
// Every allocation of a change of mappings fails once: afterwards the image goes on being used, and
// nothing that is linked was given up.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "blocklayer/formats/qcow2/check.h"
#include "tests/unit/formats/qcow2/cluster_fixture.h"

namespace {

// Allocations of this thread that succeed before one fails; negative: none fails.
thread_local int64_t allocations_left = -1;

}  // namespace

// Not inlined, or GCC 12 takes the pair for one that does not match.
[[gnu::noinline]] void* operator new(size_t size) {
  if (allocations_left >= 0) {
    --allocations_left;
    if (allocations_left < 0) throw std::bad_alloc();
  }
  void* const memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t /*size*/) noexcept {
  std::free(memory);
}

namespace chainfs::qcow2 {
namespace {

class OutOfMemoryTest : public ClusterFixture {
 protected:
  // Whether `change` came to its end with so many allocations.
  template <typename Change>
  static bool ComesToItsEnd(int64_t allocations, const Change& change) {
    allocations_left = allocations;
    bool ended = true;
    try {
      ended = change().has_value();
    } catch (const std::bad_alloc&) {
      ended = false;
    }
    ended = ended && allocations_left >= 0;
    allocations_left = -1;
    return ended;
  }
  void Settle() {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(all_->ledger().Commit());
  }
};

TEST_F(OutOfMemoryTest, NothingLinkedIsGivenUp) {
  constexpr uint64_t kGuest = 60 * kCluster;  // around a boundary of L2 tables
  constexpr size_t kBytes = 8 * kCluster;
  bool ended = false;
  for (int64_t allocations = 0; !ended && allocations < 1000; ++allocations) {
    SCOPED_TRACE(allocations);
    MakeAll();
    ASSERT_TRUE(writer_->Write(GuestOffset(kGuest), Filled(kBytes, 1), nullptr));
    ASSERT_NO_FATAL_FAILURE(Settle());
    ended = ComesToItsEnd(allocations, [&] {
      return zeroer_->WriteZeroes(GuestOffset(kGuest), kBytes, false, nullptr);
    });
    ASSERT_NO_FATAL_FAILURE(Settle());
    const auto report = CheckQcow2(*file_);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    // And it can be changed again.
    ASSERT_TRUE(zeroer_->WriteZeroes(GuestOffset(kGuest), kBytes, false, nullptr));
    ASSERT_NO_FATAL_FAILURE(Settle());
    EXPECT_EQ(Shown(kGuest, kBytes), Filled(kBytes, 0));
    all_.reset();
    host_ = MemHost::Create();
  }
  EXPECT_TRUE(ended);
}

// What was taken by a commit that fails is written by a later one.
TEST_F(OutOfMemoryTest, NothingPendingIsLost) {
  constexpr uint64_t kGuest = 60 * kCluster;
  constexpr size_t kBytes = 8 * kCluster;
  bool ended = false;
  for (int64_t allocations = 0; !ended && allocations < 1000; ++allocations) {
    SCOPED_TRACE(allocations);
    MakeAll();
    ASSERT_TRUE(writer_->Write(GuestOffset(kGuest), Filled(kBytes, 1), nullptr));
    ended = ComesToItsEnd(allocations, [&] { return all_->ledger().Commit(); });
    ASSERT_NO_FATAL_FAILURE(Settle());
    const auto report = CheckQcow2(*file_);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    all_ = std::make_unique<ImageTables>(*file_, *file_, cache_, cache_.NewOwner(), epoch_,
                                         *ReadQcow2Header(*file_));
    EXPECT_EQ(MappingOf(kGuest).kind, ClusterKind::kNormal);
    EXPECT_EQ(MappingOf(kGuest + kBytes - 1).kind, ClusterKind::kNormal);
    all_.reset();
    host_ = MemHost::Create();
  }
  EXPECT_TRUE(ended);
}

TEST_F(OutOfMemoryTest, WritesCanBeRepeated) {
  constexpr uint64_t kGuest = 60 * kCluster + 100;
  constexpr size_t kBytes = 8 * kCluster;
  bool ended = false;
  for (int64_t allocations = 0; !ended && allocations < 1000; ++allocations) {
    SCOPED_TRACE(allocations);
    MakeAll();
    const FullOf below(7);
    const Bytes data = Filled(kBytes, 1);
    ended = ComesToItsEnd(allocations,
                          [&] { return writer_->Write(GuestOffset(kGuest), data, &below); });
    ASSERT_NO_FATAL_FAILURE(Settle());
    const auto report = CheckQcow2(*file_);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    ASSERT_TRUE(writer_->Write(GuestOffset(kGuest), data, &below));
    ASSERT_NO_FATAL_FAILURE(Settle());
    EXPECT_EQ(Shown(kGuest, kBytes, &below), data);
    EXPECT_EQ(Shown(60 * kCluster, 100, &below), Filled(100, 7));
    EXPECT_EQ(CheckQcow2(*file_)->corruptions, 0u);
    all_ = std::make_unique<ImageTables>(*file_, *file_, cache_, cache_.NewOwner(), epoch_,
                                         *ReadQcow2Header(*file_));
    EXPECT_EQ(MappingOf(60 * kCluster).kind, ClusterKind::kNormal) << "opened anew";
    EXPECT_EQ(MappingOf(68 * kCluster).kind, ClusterKind::kNormal);
    all_.reset();
    host_ = MemHost::Create();
  }
  EXPECT_TRUE(ended);
}

// Whether or not the L1 table has moved, what is written afterwards is found again.
TEST_F(OutOfMemoryTest, TheL1TableIsWhereTheHeaderSays) {
  const Bytes data = Filled(kCluster, 1);
  bool ended = false;
  for (int64_t allocations = 0; !ended && allocations < 1000; ++allocations) {
    SCOPED_TRACE(allocations);
    MakeAll();
    ended = ComesToItsEnd(allocations, [&] { return all_->GrowL1For(8 << 20); });
    // Where it is not known which table the disk names, nothing is written any more.
    if (!all_->failed()) {
      ASSERT_TRUE(writer_->Write(GuestOffset(40 * kCluster), data, nullptr));
      ASSERT_NO_FATAL_FAILURE(Settle());
    }
    const auto report = CheckQcow2(*file_);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    const bool written = !all_->failed();
    all_ = std::make_unique<ImageTables>(*file_, *file_, cache_, cache_.NewOwner(), epoch_,
                                         *ReadQcow2Header(*file_));
    EXPECT_EQ(MappingOf(40 * kCluster).kind,
              written ? ClusterKind::kNormal : ClusterKind::kUnallocated);
    all_.reset();
    host_ = MemHost::Create();
  }
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace chainfs::qcow2
