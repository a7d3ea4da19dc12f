// SPDX-License-Identifier: Apache-2.0
//
// What the run may rely on when its work throws, and when a record is given up (JOB-6, JOB-12,
// JOB-14).
#include "jobs/engine/guarded_work.h"

#include <gtest/gtest.h>

#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "jobs/engine/cursor_source.h"

namespace chainfs::jobs {
namespace {

using Story = std::vector<std::string>;

// Notes what is called, in its order; throws where it is told to.
struct Teller {
  Story story;
  std::string throws_in;
  Status enter_pivot = {};

  void Tell(const std::string& what) {
    story.push_back(what);
    if (what == throws_in) throw std::bad_alloc();
  }
};

class TellingWork final : public ChunkWork {
 public:
  explicit TellingWork(Teller& teller) : teller_(teller) {}
  ~TellingWork() override { teller_.story.emplace_back("destroyed"); }
  WorkSource& source() override { return source_; }
  uint64_t unit() const override { return 1; }
  uint64_t chunk_size() const override { return 1; }
  ChunkResult Process(uint64_t /*offset*/, uint64_t length) override {
    teller_.Tell("process");
    return length;
  }
  Status Settle() override {
    teller_.Tell("settle");
    return {};
  }
  Status Pivot() override {
    teller_.Tell("pivot");
    return {};
  }
  Status Undo(const std::function<bool()>& stop) override {
    teller_.Tell(stop() ? "undo until stop" : "undo");
    return {};
  }
  LeftOutLayers LeftOut() override {
    teller_.Tell("left out");
    return {};
  }
  void Release() override { teller_.Tell("release"); }

 private:
  Teller& teller_;
  CursorSource source_{1};
};

class TellingRecorder final : public JobRecorder {
 public:
  explicit TellingRecorder(Teller& teller) : teller_(teller) {}
  Status EnterPivot() override {
    teller_.Tell("enter pivot");
    return teller_.enter_pivot;
  }
  Status EnterUndo(const std::string& reason) override {
    teller_.Tell("enter undo " + reason);
    return teller_.enter_pivot;
  }
  void Save(const JobParameters& parameters) override {
    teller_.Tell("save " + std::to_string(parameters.progress));
  }
  void Remove() override { teller_.Tell("remove"); }

 private:
  Teller& teller_;
};

class GuardedWorkTest : public testing::Test {
 protected:
  void Save(uint64_t progress) {
    work_.Save([&] {
      ++asked_;
      return JobParameters{.speed = 0, .paused = false, .progress = progress};
    });
  }

  Teller teller_;
  int asked_ = 0;
  GuardedWork work_{std::make_unique<TellingWork>(teller_),
                    std::make_unique<TellingRecorder>(teller_)};
};

TEST_F(GuardedWorkTest, TheLocksGoThenTheRecordThenTheLayers) {
  ASSERT_TRUE(work_.Pivot());
  ASSERT_TRUE(work_.Release());
  work_.Destroy();
  EXPECT_EQ(teller_.story, (Story{"enter pivot", "pivot", "release", "remove", "destroyed"}));
}

TEST_F(GuardedWorkTest, NothingIsSavedOnceTheRecordIsRemoved) {
  Save(1);
  ASSERT_TRUE(work_.Release());
  Save(2);
  work_.Destroy();
  Save(3);
  EXPECT_EQ(teller_.story, (Story{"save 1", "release", "remove", "destroyed"}));
  EXPECT_EQ(asked_, 1);
}

TEST_F(GuardedWorkTest, NothingIsSavedOnceTheRecordIsLeftToTheNextDaemon) {
  Save(1);
  work_.KeepRecord();
  Save(2);
  ASSERT_TRUE(work_.Settle());
  work_.Destroy();
  EXPECT_EQ(teller_.story, (Story{"save 1", "settle", "destroyed"}));
}

TEST_F(GuardedWorkTest, NothingNewerIsNotSaved) {
  work_.Save([] { return std::nullopt; });
  EXPECT_EQ(teller_.story, Story{});
}

TEST_F(GuardedWorkTest, ThereIsNoPivotThatTheRecordDoesNotTellOf) {
  teller_.enter_pivot = Fail(ErrorKind::kNoSpace, "full");
  EXPECT_EQ(work_.Pivot().error().kind, ErrorKind::kNoSpace);
  teller_.enter_pivot = {};
  teller_.throws_in = "enter pivot";
  EXPECT_EQ(work_.Pivot().error().kind, ErrorKind::kNoMemory);
  EXPECT_EQ(teller_.story, (Story{"enter pivot", "enter pivot"}));
}

TEST_F(GuardedWorkTest, NothingIsUndoneThatTheRecordDoesNotTellOf) {
  teller_.enter_pivot = Fail(ErrorKind::kNoSpace, "full");
  EXPECT_EQ(work_.Undo("why", [] { return false; }).error().kind, ErrorKind::kNoSpace);
  teller_.enter_pivot = {};
  EXPECT_TRUE(work_.Undo("why", [] { return true; }));
  EXPECT_EQ(teller_.story, (Story{"enter undo why", "enter undo why", "undo until stop"}));
}

TEST_F(GuardedWorkTest, NothingEscapes) {
  teller_.throws_in = "process";
  const ChunkResult chunk = work_.Process({.offset = 0, .length = 1});
  ASSERT_FALSE(chunk);
  EXPECT_EQ(chunk.error().error.kind, ErrorKind::kNoMemory);
  teller_.throws_in = "settle";
  EXPECT_EQ(work_.Settle().error().kind, ErrorKind::kNoMemory);
  teller_.throws_in = "pivot";
  EXPECT_EQ(work_.Pivot().error().kind, ErrorKind::kNoMemory);
  teller_.throws_in = "left out";
  EXPECT_NE(work_.LeftOut().problem, "");
  teller_.throws_in = "release";
  EXPECT_EQ(work_.Release().error().kind, ErrorKind::kNoMemory);
}

}  // namespace
}  // namespace chainfs::jobs
