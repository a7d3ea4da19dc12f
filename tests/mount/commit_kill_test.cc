// SPDX-License-Identifier: Apache-2.0
//
// Commits on a real mount under guests that write, into a layer in the middle and of the active
// layer; and SIGKILL at random moments of both (kill_fixture.h).
#include "tests/mount/kill_fixture.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

class CommitKillTest : public KillFixture {
 protected:
  struct Commit {
    std::string keys;
    Names layers_after;
  };

  // Of the active layer, or of what lies below it, into a layer that nobody else needs.
  Commit NextCommit(bool active) {
    AddLayers(4);
    const Names layers = LayersOf(disk());
    const size_t least = active ? 1 : 2;
    const size_t base = least + random_.Below(CountOwn(layers) - least);
    Commit commit{.keys = "id=" + NewId() + ",base=" + layers[base], .layers_after = {}};
    if (!active) commit.keys += ",top=" + layers[1];
    constexpr const char* kMore[] = {"", ",delete=yes", ",delete=empty"};
    commit.keys += kMore[random_.Below(3)];
    if (random_.OneIn(3)) commit.keys += ",reclaim=yes";
    if (active && random_.OneIn(4)) commit.keys += ",then=hold";
    if (!active) commit.layers_after.push_back(layers[0]);
    commit.layers_after.insert(commit.layers_after.end(),
                               layers.begin() + static_cast<ptrdiff_t>(base), layers.end());
    return commit;
  }

  Attempt NextAttempt(bool active) {
    Commit commit = NextCommit(active);
    Attempt attempt;
    attempt.slow = random_.OneIn(3);
    if (attempt.slow) commit.keys += ",speed=" + std::to_string(1 + random_.Below(4)) + "M";
    attempt.what = "commit " + commit.keys;
    attempt.command = [this, keys = commit.keys] { return Order(disk(), "commit", keys); };
    attempt.layers_after = commit.layers_after;
    return attempt;
  }
};

TEST_F(CommitKillTest, UnderWrites) {
  for (int round = 0; round < 6; ++round) {
    const Commit commit = NextCommit(round % 2 == 0);
    SCOPED_TRACE(commit.keys);
    {
      StampedWriter first(disk(), vm_.model, random_.Fork());
      StampedWriter second(disk(), vm_.model, random_.Fork());
      first.WaitForMore(20);
      ASSERT_EQ(Order(disk(), "commit", commit.keys), 0) << LastError(disk());
      WaitForEnd();
      first.WaitForMore(20);
      second.WaitForMore(20);
      EXPECT_EQ(first.Stop(), 0);
      EXPECT_EQ(second.Stop(), 0);
    }
    EXPECT_EQ(LayersOf(disk()), commit.layers_after) << daemon().Log();
    ASSERT_FALSE(HasFailure()) << daemon().Log();
  }
  EXPECT_EQ(daemon().Stop().exit_code, 0) << daemon().Log();
  ExpectSound();
}

TEST_F(CommitKillTest, AtRandomMomentsOfOneInTheMiddle) {
  KillAtRandomMoments(200ms, [this] { return NextAttempt(/*active=*/false); });
}

TEST_F(CommitKillTest, AtRandomMomentsOfOneOfTheActiveLayer) {
  KillAtRandomMoments(200ms, [this] { return NextAttempt(/*active=*/true); });
}

}  // namespace
}  // namespace chainfs
