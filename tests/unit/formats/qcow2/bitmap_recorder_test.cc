// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_recorder.h"

#include <gtest/gtest.h>

namespace chainfs::qcow2 {
namespace {

class BitmapRecorderTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, bool recording) {
    recorder_.Add(name, DirtyBits::Make(memory_, 9, 1 << 20).value(), recording);
  }

  MetadataCache cache_{16 << 20};
  BitmapMemory memory_{cache_};
  BitmapRecorder recorder_;
};

TEST_F(BitmapRecorderTest, RecordsWhenAChangeEnds) {
  {
    const BitmapRecorder::Change change(recorder_, GuestOffset(0), 1024);
    Add("made meanwhile", true);
    EXPECT_EQ(recorder_.DirtyBytes("made meanwhile"), 0u);
  }
  EXPECT_EQ(recorder_.DirtyBytes("made meanwhile"), 1024u);
  {
    const BitmapRecorder::Change change(recorder_, GuestOffset(512), 512);
    recorder_.Clear("made meanwhile");
  }
  EXPECT_EQ(recorder_.DirtyBytes("made meanwhile"), 512u) << "it ended after that";
}

TEST_F(BitmapRecorderTest, OnlyThoseThatRecord) {
  Add("on", true);
  Add("off", false);
  recorder_.Record(GuestOffset(0), 1);
  EXPECT_EQ(recorder_.DirtyBytes("on"), 512u);
  EXPECT_EQ(recorder_.DirtyBytes("off"), 0u);
  recorder_.SetRecording("off", true);
  recorder_.SetRecording("on", false);
  recorder_.Record(GuestOffset(4096), 1);
  EXPECT_EQ(recorder_.DirtyBytes("on"), 512u);
  EXPECT_EQ(recorder_.DirtyBytes("off"), 512u);
  recorder_.Remove("off");
  EXPECT_FALSE(recorder_.Holds("off"));
  EXPECT_EQ(recorder_.DirtyBytes("off"), std::nullopt);
}

}  // namespace
}  // namespace chainfs::qcow2
