// SPDX-License-Identifier: Apache-2.0
//
// Crash states of an image that shrinks and grows, between guest writes. Each must open, have no
// corruption (leaks are permitted), have the old or the new size, and show of what lies within
// both what was flushed; what growth brings reads as zeros, also after a shrink that was cut off.
#include <gtest/gtest.h>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/formats/raw/raw_image.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/image_model.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;

struct Case {
  const char* name;
  uint32_t cluster_bits;  // 0: raw
  bool backing;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

constexpr uint64_t kLarge = 40 * 1024 + 512;
constexpr uint64_t kSmall = 11 * 1024 + 512;

class ResizeCrash : public ::testing::TestWithParam<Case> {
 protected:
  std::string name() const { return GetParam().cluster_bits == 0 ? "a.raw" : "a.qcow2"; }
  std::unique_ptr<WritableImage> Open(const std::shared_ptr<MemHost>& host) {
    auto file = host->OpenRoot()->Open(name(), OpenMode::kReadWrite).value();
    if (GetParam().cluster_bits == 0) return raw::OpenRawImage(std::move(file), false).value();
    auto image = OpenQcow2Image(std::move(file), cache_, {.owner = cache_.NewOwner()});
    if (!image) {
      ADD_FAILURE() << image.error().message;
      return nullptr;
    }
    return *std::move(image);
  }
  void Make(const std::shared_ptr<MemHost>& host) {
    if (GetParam().cluster_bits == 0) {
      host->PutFile(name(), Bytes(kLarge));
      return;
    }
    Qcow2CreateOptions options{.virtual_size = kLarge, .cluster_bits = GetParam().cluster_bits};
    if (GetParam().backing) options.backing = BackingReference{.name = "b.raw", .format = "raw"};
    ASSERT_TRUE(CreateQcow2(*host->OpenRoot(), name(), options));
  }
  const BackingReader* below() const { return GetParam().backing ? &below_ : nullptr; }
  uint64_t backing_size() const { return GetParam().backing ? below_.bytes().size() : 0; }

  void CheckState(const CrashState& state, const Bytes& large, const Bytes& small) {
    const auto host = state.MakeHost();
    if (GetParam().cluster_bits != 0) {
      const auto file = host->OpenRoot()->Open(name(), OpenMode::kReadOnly);
      const auto report = CheckQcow2(**file);
      ASSERT_TRUE(report) << report.error().message;
      ASSERT_EQ(report->corruptions, 0u) << report->messages.front();
    }
    std::unique_ptr<WritableImage> image = Open(host);
    ASSERT_NE(image, nullptr);
    const Bytes shown = ReadWholeImage(*image, below()).value();
    ASSERT_TRUE(shown.size() == kLarge || shown.size() == kSmall) << shown.size();
    ASSERT_EQ(Difference(shown.size() == kLarge ? large : small, shown), "");
    ++sizes_[shown.size()];
    // Whatever was left beyond the end does not come back.
    ASSERT_TRUE(image->Grow(kLarge + 8192, below(), backing_size()));
    Bytes grown = shown;
    grown.resize(kLarge + 8192);
    ASSERT_EQ(Difference(grown, ReadWholeImage(*image, below()).value()), "");
    ASSERT_TRUE(image->Close());
    if (GetParam().cluster_bits != 0 && states_++ % 60 == 0) {
      const TempDir dir;
      ASSERT_TRUE(state.MakeHost()->ExportTo(dir.path()));
      const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", dir / name()});
      ASSERT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
    }
  }
  void ForEachState(const std::shared_ptr<MemHost>& host, const Bytes& large, const Bytes& small) {
    CrashEnumerator crash(host->StopRecording(), {.max_states_per_point = 40});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckState(state, large, small);
      return !HasFatalFailure();
    });
    EXPECT_GT(sizes_[kLarge], 0);
    EXPECT_GT(sizes_[kSmall], 0);
  }

  MetadataCache cache_{1 << 20};
  const BufferBelow below_{Bytes(kLarge + 4096, std::byte{0xbb})};
  std::map<uint64_t, int> sizes_;  // in which states were found
  int states_ = 0;
};

TEST_P(ResizeCrash, ShrinkingLeavesTheOldOrTheNewSize) {
  const auto host = MemHost::Create();
  host->PutFile("b.raw", below_.bytes());
  Make(host);
  Random random;
  std::unique_ptr<WritableImage> image = Open(host);
  ASSERT_NE(image, nullptr);
  Bytes data(30 * 1024);
  random.Fill(data);
  ASSERT_TRUE(image->Write(GuestOffset(512), data, below()));
  ASSERT_TRUE(image->Flush());
  const Bytes large = ReadWholeImage(*image, below()).value();
  Bytes small = large;
  small.resize(kSmall);
  host->StartRecording();
  ASSERT_TRUE(image->Shrink(kSmall));
  ASSERT_TRUE(image->Flush());
  ASSERT_TRUE(image->Close());
  ForEachState(host, large, small);
}

TEST_P(ResizeCrash, GrowingAfterShrinkingShowsZeros) {
  const auto host = MemHost::Create();
  host->PutFile("b.raw", below_.bytes());
  Make(host);
  Random random;
  std::unique_ptr<WritableImage> image = Open(host);
  ASSERT_NE(image, nullptr);
  Bytes data(kLarge);
  random.Fill(data);
  ASSERT_TRUE(image->Write(GuestOffset(0), data, below()));
  ASSERT_TRUE(image->Flush());
  ASSERT_TRUE(image->Shrink(kSmall));
  const Bytes small = ReadWholeImage(*image, below()).value();
  Bytes large = small;
  large.resize(kLarge);
  host->StartRecording();
  ASSERT_TRUE(image->Grow(kLarge, below(), backing_size()));
  ASSERT_TRUE(image->Close());
  ForEachState(host, large, small);
}

INSTANTIATE_TEST_SUITE_P(Images, ResizeCrash,
                         ::testing::Values(Case{"raw", 0, false}, Case{"c512", 9, false},
                                           Case{"c512_backing", 9, true}, Case{"c4k", 12, false},
                                           Case{"c4k_backing", 12, true},
                                           Case{"c64k_backing", 16, true}),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
