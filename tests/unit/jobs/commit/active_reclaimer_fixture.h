// SPDX-License-Identifier: Apache-2.0
//
// ActiveReclaimerFixture: a commit of an active layer that gives space back, driven by hand.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jobs/commit/commit_type.h"
#include "tests/unit/jobs/commit/commit_fixture.h"

namespace chainfs::jobs {

class ActiveReclaimerFixture : public CommitFixture {
 protected:
  using Bytes = std::vector<std::byte>;

  // The work of a commit of e's active layer, as far as it copies: it is driven by hand.
  std::unique_ptr<ChunkWork> Begun(const std::string& base) {
    verbs::Arguments arguments;
    arguments.Set("base", base).Set("reclaim", "yes");
    auto plan =
        CommitType().plan(*catalog_, {.type = "commit", .disk = Disk("e"), .arguments = arguments});
    EXPECT_TRUE(plan) << plan.error().message;
    std::unique_ptr<ChunkWork> work = plan->work("c1");
    EXPECT_TRUE(work->Prepare());
    const Status begun = work->Begin();
    EXPECT_TRUE(begun) << begun.error().message;
    return work;
  }
  // The same for a chain of five, when everything is copied; `expected_` is what is shown.
  std::unique_ptr<ChunkWork> CopiedOfFive(const std::string& base) {
    MakeFive();
    OpenAll();
    expected_ = Contents("e");
    std::unique_ptr<ChunkWork> work = Begun(base);
    CopyAll(*work);
    return work;
  }
  static void CopyAll(ChunkWork& work) {
    while (const std::optional<ChunkRange> chunk = work.source().Take(work.unit() * 8)) {
      const ChunkResult copied = work.Process(chunk->offset, chunk->length);
      ASSERT_TRUE(copied) << copied.error().error.message;
      work.source().Finished(*chunk);
    }
  }
  // Bytes that a layer holds of its own.
  uint64_t Held(const std::string& layer) {
    Image& image = *catalog_->FindLayer(*Disk("e"), layer).value()->image;
    uint64_t held = 0;
    for (uint64_t at = 0; at < image.virtual_size();) {
      const auto extent =
          image.Map(GuestOffset(at), image.virtual_size() - at, MapDetail::kFast).value();
      if (extent.kind != ExtentKind::kUnallocated) held += extent.length;
      at += extent.length;
    }
    return held;
  }
  void Write(uint64_t offset, uint64_t length, int value) {
    const Bytes data(length, static_cast<std::byte>(value));
    ASSERT_TRUE(Disk("e")->Write(GuestOffset(offset), data));
    std::ranges::copy(data, expected_.begin() + static_cast<ptrdiff_t>(offset));
  }
  void ExpectShown() { ASSERT_EQ(Contents("e"), expected_); }

  Bytes expected_;
};

}  // namespace chainfs::jobs
