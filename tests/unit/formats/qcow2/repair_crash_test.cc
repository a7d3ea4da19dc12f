// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a repair. Each shows what the image showed before, is no worse than it was where
// it matters (no cluster has fewer references counted than before), and another repair makes it
// sound.
#include <gtest/gtest.h>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/image_model.h"
#include "tests/support/random.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kSize = 512 * 1024;

struct RepairCase {
  const char* name;
  ImageRepair repair;
  uint32_t version;
  bool too_low;  // also refcounts that are lower than the references
};

std::ostream& operator<<(std::ostream& out, const RepairCase& c) { return out << c.name; }

class RepairCrash : public ::testing::TestWithParam<RepairCase> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(
        CreateQcow2(*host_->OpenRoot(), "a.qcow2",
                    {.virtual_size = kSize, .version = GetParam().version, .cluster_bits = 9}));
    auto image = Open(host_);
    Bytes data(kSize / 2);
    Random(7).Fill(data);
    ASSERT_TRUE(image->Write(GuestOffset(0), data, nullptr));
    shown_ = ReadWholeImage(*image, nullptr).value();
    ASSERT_TRUE(image->Close());
    image.reset();
    Bytes bytes = host_->Contents("a.qcow2");
    for (const uint64_t cluster : {20U, 40U, 41U, 60U}) SetCount(bytes, cluster, 3);
    if (GetParam().too_low) {
      for (uint64_t cluster = 30; cluster < 500; cluster += 67) SetCount(bytes, cluster, 0);
    }
    host_->PutFile("a.qcow2", bytes);
  }
  static void SetCount(Bytes& bytes, uint64_t cluster, uint16_t count) {
    const auto word = [&](uint64_t at) { return LoadBigEndian<uint64_t>(bytes.data() + at); };
    const uint64_t block = word(word(qcow2::kOffsetRefcountTable) + cluster / 256 * 8);
    StoreBigEndian(bytes.data() + block + cluster % 256 * 2, count);
  }
  std::unique_ptr<WritableImage> Open(const std::shared_ptr<MemHost>& host) {
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite).value();
    return OpenQcow2Image(std::move(file), cache_, {.owner = cache_.NewOwner()}).value();
  }
  static ImageCheckReport Check(const std::shared_ptr<MemHost>& host, ImageRepair repair) {
    const auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite).value();
    ImageCheckControl control;
    control.repair = repair;
    return CheckQcow2(*file, control).value();
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{1 << 20};
  Bytes shown_;
};

TEST_P(RepairCrash, EveryStateIsNoWorseAndCanBeRepaired) {
  const ImageCheckReport before = Check(host_, ImageRepair::kNone);
  ASSERT_GT(before.leaks, 0U);
  host_->StartRecording();
  Check(host_, GetParam().repair);
  CrashEnumerator crash(host_->StopRecording(), {.max_states_per_point = 60});
  crash.ForEachState([&](const CrashState& state) {
    SCOPED_TRACE(state.Describe());
    const auto host = state.MakeHost();
    const ImageCheckReport left = Check(host, ImageRepair::kNone);
    EXPECT_LE(left.corruptions, before.corruptions);
    EXPECT_EQ(left.bad_entries, 0U);
    EXPECT_EQ(Difference(shown_, ReadWholeImage(*Open(host), nullptr).value()), "");
    const ImageCheckReport repaired = Check(host, ImageRepair::kAll);
    EXPECT_EQ(repaired.corruptions, 0U);
    EXPECT_EQ(repaired.leaks, 0U);
    EXPECT_EQ(Difference(shown_, ReadWholeImage(*Open(host), nullptr).value()), "");
    return !HasFailure();
  });
  EXPECT_GE(crash.visited(), GetParam().too_low ? 30U : 2U);
}

INSTANTIATE_TEST_SUITE_P(Repairs, RepairCrash,
                         ::testing::Values(RepairCase{"leaks", ImageRepair::kLeaks, 3, false},
                                           RepairCase{"all_v3", ImageRepair::kAll, 3, true},
                                           RepairCase{"all_v2", ImageRepair::kAll, 2, true}),
                         [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace chainfs
