// SPDX-License-Identifier: Apache-2.0
//
// Crash states of an image whose bitmaps record guest writes, are stored, made, changed and
// removed. Each must open and have no corruption (leaks are permitted); and each bitmap that is not
// inconsistent must say of every granule that differs from what the disk showed when it was made
// that it is dirty.
#include <gtest/gtest.h>

#include <map>

#include "blocklayer/formats/qcow2/bitmap_table.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/image_model.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;
using enum BitmapChange::Kind;

constexpr uint64_t kSize = 3 * 1024 * 1024;
constexpr uint64_t kGranule = 512;

class BitmapCrash : public ::testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(CreateQcow2(*host_->OpenRoot(), "a.qcow2",
                            {.virtual_size = kSize, .cluster_bits = GetParam()}));
    const auto image = Open(host_);
    ASSERT_TRUE(image->Write(GuestOffset(0), Bytes(8192, std::byte{1}), nullptr));
    Change(*image, kAdd, "old");
    Change(*image, kAdd, "off", true);
    ASSERT_TRUE(image->Close());
    bases_["old"] = bases_["off"] = ReadWholeImage(*image, nullptr).value();
    off_since_ = "off";
    host_->StartRecording();
  }
  std::unique_ptr<WritableImage> Open(const std::shared_ptr<MemHost>& host) {
    auto image = OpenQcow2Image(host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite).value(),
                                cache_, {.owner = cache_.NewOwner()});
    if (!image) {
      ADD_FAILURE() << image.error().message;
      return nullptr;
    }
    return *std::move(image);
  }
  static void Change(WritableImage& image, BitmapChange::Kind kind, const std::string& name,
                     bool disabled = false) {
    const Status changed = image.ChangeBitmap(
        {.kind = kind, .name = name, .granularity = kGranule, .disabled = disabled});
    ASSERT_TRUE(changed) << changed.error().message;
  }
  void Write(WritableImage& image, uint64_t offset, uint64_t length) {
    Bytes data(length);
    random_.Fill(data);
    ASSERT_TRUE(image.Write(GuestOffset(offset), data, nullptr));
  }

  // The bitmaps of a state that count, and what is dirty in them.
  std::map<std::string, std::vector<bool>> DirtyIn(File& file, uint64_t size) {
    std::map<std::string, std::vector<bool>> dirty;
    const qcow2::Qcow2Header header = qcow2::ReadQcow2Header(file).value();
    const auto bitmaps = qcow2::ReadBitmapDirectory(file, header);
    EXPECT_TRUE(bitmaps) << bitmaps.error().message;
    if (!bitmaps) return dirty;
    for (const qcow2::StoredBitmap& bitmap : *bitmaps) {
      if (bitmap.in_use()) continue;
      EXPECT_EQ(qcow2::WhyUnusable(bitmap, header.geometry(), size), "") << bitmap.name;
      std::vector<bool>& bits = dirty[bitmap.name];
      bits.resize(size / kGranule);
      const Status read = qcow2::ForEachDirtyCluster(
          file, header.geometry(), bitmap, size, UINT64_MAX,
          [&](uint64_t first, std::span<const std::byte> bytes) -> Status {
            for (uint64_t i = 0; i < bytes.size() * 8 && first + i < bits.size(); ++i) {
              if ((bytes[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0}) bits[first + i] = true;
            }
            return {};
          });
      EXPECT_TRUE(read) << read.error().message;
    }
    return dirty;
  }
  void CheckState(const CrashState& state) {
    const auto host = state.MakeHost();
    const auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly).value();
    const auto report = CheckQcow2(*file);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_EQ(report->corruptions, 0u) << report->messages.front();
    const std::unique_ptr<WritableImage> image = Open(host);
    ASSERT_NE(image, nullptr);
    ASSERT_TRUE(image->writable()) << image->read_only_reason();
    const Bytes shown = ReadWholeImage(*image, nullptr).value();
    for (const auto& [name, bits] : DirtyIn(*file, shown.size())) {
      ++consistent_;
      if (name == off_since_) continue;
      const Bytes& base = bases_[name];
      for (uint64_t i = 0; i < bits.size(); ++i) {
        const uint64_t at = i * kGranule;
        const bool same = at + kGranule <= base.size() &&
                          std::equal(shown.begin() + static_cast<ptrdiff_t>(at),
                                     shown.begin() + static_cast<ptrdiff_t>(at + kGranule),
                                     base.begin() + static_cast<ptrdiff_t>(at));
        ASSERT_TRUE(same || bits[i]) << name << " misses a change at " << at;
      }
    }
    // It goes on from there.
    ASSERT_TRUE(image->Write(GuestOffset(512), Bytes(512, std::byte{9}), nullptr));
    ASSERT_TRUE(image->Close());
    const auto after = CheckQcow2(*file);
    ASSERT_TRUE(after && after->corruptions == 0);
    if (states_++ % 200 != 0) return;
    const TempDir dir;
    ASSERT_TRUE(host->ExportTo(dir.path()));
    const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", dir / "a.qcow2"});
    ASSERT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
    const CommandResult opened =
        RunCommand({"qemu-io", "-f", "qcow2", "-c", "write 0 512", dir / "a.qcow2"});
    ASSERT_TRUE(opened.ok()) << opened.Describe();
  }
  void ForEachState() {
    CrashEnumerator crash(host_->StopRecording(), {.max_states_per_point = 25});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckState(state);
      return !HasFatalFailure() && !HasFailure();
    });
    EXPECT_GT(consistent_, 0);
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{1 << 20};
  Random random_;
  std::map<std::string, Bytes> bases_;  // what the disk showed when each began to record
  std::string off_since_;               // the bitmap that records nothing
  int states_ = 0;
  int consistent_ = 0;
};

TEST_P(BitmapCrash, RecordingAndStoring) {
  auto image = Open(host_);
  Write(*image, 4096, 1500);
  ASSERT_TRUE(image->Flush());
  Write(*image, 100'000, 9000);
  ASSERT_TRUE(image->Discard(GuestOffset(0), 4096));
  ASSERT_TRUE(image->Rest());
  Write(*image, 2'000'000, 512);
  ASSERT_TRUE(image->WriteZeroes(GuestOffset(101'000), 3000, false, nullptr));
  ASSERT_TRUE(image->Close());
  ForEachState();
}

TEST_P(BitmapCrash, MakingChangingAndRemoving) {
  auto image = Open(host_);
  Write(*image, 4096, 1500);
  bases_["new"] = ReadWholeImage(*image, nullptr).value();
  Change(*image, kAdd, "new");
  Write(*image, 50'000, 1500);
  Change(*image, kDisable, "new");
  Change(*image, kEnable, "new");
  Write(*image, 70'000, 1500);
  Change(*image, kClear, "off");
  Change(*image, kRemove, "off");
  ASSERT_TRUE(image->Close());
  image = Open(host_);
  Write(*image, 90'000, 1500);
  Change(*image, kRemove, "new");
  Change(*image, kRemove, "old");
  ASSERT_TRUE(image->Close());
  ForEachState();
}

TEST_P(BitmapCrash, Resizing) {
  auto image = Open(host_);
  Write(*image, 4096, 1500);
  ASSERT_TRUE(image->Grow(2 * kSize, nullptr, 0));
  Write(*image, kSize + 4096, 1500);
  ASSERT_TRUE(image->Rest());
  ASSERT_TRUE(image->Shrink(kSize / 2));
  ASSERT_TRUE(image->Close());
  ForEachState();
}

INSTANTIATE_TEST_SUITE_P(ClusterBits, BitmapCrash, ::testing::Values(9, 12, 16));

}  // namespace
}  // namespace chainfs
