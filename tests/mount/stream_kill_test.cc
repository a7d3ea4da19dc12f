// SPDX-License-Identifier: Apache-2.0
//
// SIGKILL at random moments of streams (kill_fixture.h), and right after one has completed: what is
// said to be complete is so for plain QEMU. The long campaign also kills up to 5 s after the end.
// And of a daemon without jobs, whose guest writes through the page cache.
#include "tests/mount/kill_fixture.h"

namespace chainfs {
namespace {

using namespace std::chrono_literals;

class StreamKillTest : public KillFixture {
 protected:
  Attempt NextStream() {
    AddLayers(4);
    const Names layers = LayersOf(disk());
    const size_t top = random_.OneIn(3) ? random_.Below(2) : 0;
    // From the layer above which all is merged down to none at all.
    const size_t base = top + 2 + random_.Below(layers.size() - top - 1);
    Attempt attempt;
    std::string keys = "id=" + NewId() + ",top=" + layers[top];
    if (base < layers.size()) keys += ",base=" + layers[base];
    constexpr const char* kMore[] = {"", "", ",delete=yes", ",compress=zlib"};
    keys += kMore[random_.Below(4)];
    attempt.slow = random_.OneIn(3);
    if (attempt.slow) keys += ",speed=" + std::to_string(1 + random_.Below(4)) + "M";
    attempt.what = "stream " + keys;
    attempt.command = [this, keys] { return Order(disk(), "stream", keys); };
    attempt.layers_after.assign(layers.begin(), layers.begin() + static_cast<ptrdiff_t>(top) + 1);
    attempt.layers_after.insert(attempt.layers_after.end(),
                                layers.begin() + static_cast<ptrdiff_t>(base), layers.end());
    return attempt;
  }
};

TEST_F(StreamKillTest, AtRandomMoments) {
  KillAtRandomMoments(200ms, [this] { return NextStream(); });
}

TEST_F(StreamKillTest, SoonAfterAStreamHasCompleted) {
  std::vector<uint64_t> delays = {0, 200};  // ms
  for (int more = WantedKills() / 10; more > 0; --more) delays.push_back(random_.Below(5000));
  for (const uint64_t milliseconds : delays) {
    SCOPED_TRACE(milliseconds);
    const std::string id = NewId();
    Events events(daemon());
    StampedWriter guest(disk(), vm_.model, random_.Fork());
    guest.WaitForMore(50);
    ASSERT_EQ(Order(disk(), "stream", "id=" + id), 0) << LastError(disk());
    ASSERT_FALSE(events.WaitFor("BLOCK_JOB_COMPLETED", id).is_null());
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    daemon().KillHard();
    EXPECT_NE(guest.WaitForFailure(), 0);
    // What completed is so for plain QEMU: one layer that stands alone.
    const Json info =
        Json::parse(MustRun({"qemu-img", "info", "-f", "qcow2", "--output=json", At(Active())}));
    EXPECT_FALSE(info.contains("backing-filename")) << info.dump();
    ExpectSound();
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(daemon().Restart()) << daemon().Log();
    EXPECT_EQ(LayersOf(disk()).size(), 1u);
    EXPECT_TRUE(Status(disk(), "job." + id).is_null());
    AddLayers(3);
  }
  EXPECT_EQ(daemon().Stop().exit_code, 0) << daemon().Log();
}

// What a buffered writer has fsynced is there.
TEST_F(StreamKillTest, UnderABufferedWriterWithoutJobs) {
  for (int i = 0; i < 3; ++i) {
    StampedWriter guest(disk(), vm_.model, random_.Fork(), 0);
    guest.WaitForMore(100 + random_.Below(400));
    daemon().KillHard();
    EXPECT_NE(guest.WaitForFailure(), 0);
    ExpectSound();
    ASSERT_FALSE(HasFailure());
    ASSERT_TRUE(daemon().Restart()) << daemon().Log();
  }
  EXPECT_EQ(daemon().Stop().exit_code, 0) << daemon().Log();
}

}  // namespace
}  // namespace chainfs
