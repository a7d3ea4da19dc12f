// SPDX-License-Identifier: Apache-2.0
//
// Mirrors on a real mount under guests that write, to images of both formats, the disk moving to
// each in turn; and SIGKILL at random moments of them (kill_fixture.h).
#include "tests/mount/kill_fixture.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

class MirrorKillTest : public KillFixture {
 protected:
  // To an image that is not there yet.
  std::string NextKeys(const std::string& then) {
    const std::string id = NewId();
    target_ = "copy-" + id + (random_.OneIn(3) ? ".raw" : ".qcow2");
    std::string keys = "id=" + id + ",then=" + then + ",target=" + target_;
    if (random_.OneIn(2)) keys += ",copy-mode=write-blocking";
    return keys;
  }

  Attempt NextAttempt(const std::string& then) {
    AddLayers(3);
    Names layers = LayersOf(disk());
    std::string keys = NextKeys(then);
    const bool top = target_.ends_with(".qcow2") && random_.OneIn(2);
    if (top) keys += ",sync=top";
    Attempt attempt;
    attempt.slow = random_.OneIn(3);
    if (attempt.slow) keys += ",speed=" + std::to_string(4 + random_.Below(12)) + "M";
    attempt.what = "mirror " + keys;
    attempt.command = [this, keys] { return Order(disk(), "mirror", keys); };
    if (then == "keep") {
      attempt.layers_after = layers;
      // So that the end can be compared.
      attempt.guests_after = false;
    } else {
      if (!top) layers.resize(1);
      layers[0] = target_;
      attempt.layers_after = layers;
    }
    attempt.done = [this, then](bool begun) {
      EXPECT_TRUE(begun || LayersOf(disk())[0] == target_ ||
                  !std::filesystem::exists(At(target_)) || then == "keep")
          << "nobody knows of " << target_;
      if (then == "keep" && begun && !guests_left_it_) {
        EXPECT_TRUE(FlatOf(target_) == TryRead("vm.raw")) << target_;
      }
    };
    guests_left_it_ = false;
    attempt.left = [this](bool accepted) {
      guests_left_it_ = guests_left_it_ || IsKept() || (accepted && Records("job-").empty());
    };
    return attempt;
  }

  // The copy is complete by what the killed daemon has left: guests may have written since, and no
  // daemon copies that.
  bool IsKept() const {
    return std::ranges::any_of(Records("intent-"), [this](const std::string& name) {
      const std::string text = ReadTextFile(At(".chainfs/" + name)).substr(0, 512);
      return Json::parse(text).value("state", "") == "kept";
    });
  }

  std::string target_;
  bool guests_left_it_ = false;
};

TEST_F(MirrorKillTest, UnderWrites) {
  for (int round = 0; round < 5; ++round) {
    const std::string keys = NextKeys("pivot");
    SCOPED_TRACE(keys);
    {
      StampedWriter first(disk(), vm_.model, random_.Fork());
      StampedWriter second(disk(), vm_.model, random_.Fork());
      first.WaitForMore(20);
      ASSERT_EQ(Order(disk(), "mirror", keys), 0) << LastError(disk());
      if (round % 2 == 1) {
        // Under such writers a background copy may take its time.
        (void)Order(disk(), "change", "copy-mode=write-blocking");
      }
      WaitForEnd();
      first.WaitForMore(20);
      second.WaitForMore(20);
      EXPECT_EQ(first.Stop(), 0);
      EXPECT_EQ(second.Stop(), 0);
    }
    EXPECT_EQ(LayersOf(disk()), Names{target_}) << daemon().Log();
    ASSERT_FALSE(HasFailure()) << daemon().Log();
  }
  EXPECT_EQ(daemon().Stop().exit_code, 0) << daemon().Log();
  ExpectSound();
}

TEST_F(MirrorKillTest, AtRandomMomentsOfOneThatThePivotEnds) {
  KillAtRandomMoments(200ms, [this] { return NextAttempt("pivot"); });
}

TEST_F(MirrorKillTest, AtRandomMomentsOfOneThatIsKept) {
  KillAtRandomMoments(200ms, [this] { return NextAttempt("keep"); });
}

}  // namespace
}  // namespace chainfs
