// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a disk that shrinks and grows, by the real catalog, with a guest that goes on
// writing below the smallest size; chains of one to four layers. In every state no layer is
// corrupt, the disk has the size before or after the step under way and no other, what lies below
// shows each sector as it was flushed last or later, what lies beyond is what was there or zeros
// as the size says, and no layer below shows anything but what it showed before. A sample is opened
// by a new catalog, grown and written. resize_crash_test.cc has the image alone.
//
// CHAINFS_CRASH_ROUNDS (default 2) times four scenarios a case; CHAINFS_CRASH_STATES (default 16)
// states a point.
#include "tests/crash/job_crash.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kLarge = 24 * kKiB;
constexpr uint64_t kSmall = 9 * kKiB + 512;
constexpr uint64_t kGrown = 28 * kKiB + 512;
constexpr uint64_t kMost = 32 * kKiB;  // the largest layer has

struct ResizeCase {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the guest's disk is the one called "vm"
};

std::ostream& operator<<(std::ostream& out, const ResizeCase& c) { return out << c.name; }

class DiskResizeCrash : public JobCrash<ResizeCase> {
 protected:
  void SetUp() override {
    JobCrash::SetUp();
    NoteFiles(GetParam().layers);
  }

  const std::string& active() const { return files_.back(); }

  void Build() override {
    MakeChain(GetParam().layers, kMost);
    if (HasFatalFailure()) return;
    frozen_flats_ = FlatsByHand(host_, frozen_);
    OpenDisk();
    if (HasFatalFailure()) return;
    // There is something that could come back.
    for (const uint64_t at : {kSmall, kSmall + 4 * kKiB, kLarge - 2 * kKiB}) {
      ASSERT_TRUE(guest_->Write(*disk_, at / kStampSize, 3));
    }
    ASSERT_TRUE(disk_->Flush());
    sizes_ = {{.size = kLarge, .issued = -1, .completed = -1}};
    const auto shown = ReadWholeDisk(*disk_);
    ASSERT_TRUE(shown) << shown.error().message;
    ASSERT_EQ(shown->size(), kLarge);
    end_.assign(shown->begin() + kSmall, shown->end());
    guest_->Accept(*shown);
  }

  // Below the smallest size, where a guest may write whatever becomes of the end.
  Status GuestOperation(Random& random) {
    const uint64_t lba = random.Below(kSmall / kStampSize);
    const uint64_t count =
        std::min(kSmall / kStampSize - lba, uint64_t{1} + random.Below(kSmall / kStampSize / 3));
    switch (random.Below(8)) {
      case 0:
        return guest_->Zero(*disk_, lba, count, random.OneIn(2));
      case 1:
        return guest_->Discard(*disk_, lba, count);
      case 2:
        return guest_->Flush(*disk_);
      default:
        return guest_->Write(*disk_, lba, count);
    }
  }
  void SomeOperations(Random& random, int count) {
    for (int i = 0; i < count; ++i) {
      const Status done = GuestOperation(random);
      EXPECT_TRUE(done) << done.error().message;
    }
  }

  void Resize(uint64_t size) {
    const uint64_t before = disk_->size();
    const uint64_t first = std::min(size, before);
    const size_t index = sizes_.size();
    // What is cut off, or new, is zeros when it is shown again.
    const auto ticket = guest_->model().BeginZero(first / kStampSize,
                                                  (std::max(size, before) - first) / kStampSize);
    sizes_.push_back({.size = size,
                      .issued = static_cast<int64_t>(host_->Note("resize")),
                      .completed = INT64_MAX});
    const Status resized = catalog_->Resize(disk_, {.size = size, .cut_data = true});
    ASSERT_TRUE(resized) << resized.error().message;
    ASSERT_EQ(disk_->size(), size);
    // Without a flush.
    sizes_[index].completed = static_cast<int64_t>(host_->Mark("resized"));
    guest_->model().End(ticket);
  }
  // With a guest beside.
  void ResizeAmongWrites(const std::vector<uint64_t>& sizes) {
    SomeOperations(random_, 2);
    for (const uint64_t size : sizes) {
      std::thread guest([this, own = random_.Fork()]() mutable { SomeOperations(own, 4); });
      Resize(size);
      guest.join();
      if (HasFailure()) return;
      SomeOperations(random_, 1);
    }
  }

  // The index of the step that left `size`, -1 when that must not be.
  int StepOf(uint64_t point, uint64_t size) const {
    const auto until = static_cast<int64_t>(std::min<uint64_t>(point, INT64_MAX));
    int allowed = -1;
    for (size_t i = 0; i < sizes_.size(); ++i) {
      if (sizes_[i].completed < until) allowed = -1;  // those before are over
      if (sizes_[i].issued < until && sizes_[i].size == size) allowed = static_cast<int>(i);
    }
    return allowed;
  }

  void CheckContents(std::span<const std::byte> shown, uint64_t point) {
    const int step = StepOf(point, shown.size());
    ASSERT_GE(step, 0) << "the disk has " << shown.size() << " bytes";
    ++found_[static_cast<size_t>(step)];
    const uint64_t below = std::min<uint64_t>(shown.size(), kSmall);
    ASSERT_EQ(guest_->model().CheckCrash(point, 0, shown.first(below)), "");
    const std::span<const std::byte> beyond = shown.subspan(below);
    if (step == 0) {
      ASSERT_EQ(Difference(end_, beyond), "");
    } else {
      ASSERT_TRUE(IsZero(beyond)) << "something has come back, or shines through";
    }
  }

  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) override {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, files_), "");
    const auto flat = FlatByHand(*root, active(), FormatOf(active()));
    ASSERT_TRUE(flat) << flat.error().message;
    CheckContents(*flat, point);
    if (HasFatalFailure()) return;
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
  }

  // The next daemon opens the chain, and the guest goes on.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      ASSERT_EQ(disk->chain()->depth(), files_.size());
      ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
      auto expected = ReadWholeDisk(*disk);
      ASSERT_TRUE(expected) << expected.error().message;
      CheckContents(*expected, point);
      if (HasFatalFailure()) return;
      expected->resize(kMost);
      const Status grown = (*catalog)->Resize(disk, {.size = kMost});
      ASSERT_TRUE(grown) << grown.error().message;
      const Bytes data(700, std::byte{0x77});
      ASSERT_TRUE(disk->Write(GuestOffset(kSmall - 100), data));
      std::ranges::copy(data, expected->begin() + kSmall - 100);
      ASSERT_TRUE(disk->Flush());
      const auto shown = ReadWholeDisk(*disk);
      ASSERT_TRUE(shown) << shown.error().message;
      ASSERT_EQ(Difference(*expected, *shown), "");
      ASSERT_TRUE((*catalog)->Resize(disk, {.size = kSmall, .cut_data = true}));
    }
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, files_), "");
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
  }

  void CheckState(const CrashState& state) override {
    CheckByHand(state.MakeHost(), state.point);
    if (HasFatalFailure()) return;
    if (random_.OneIn(8)) CheckByDaemon(state.MakeHost(), state.point);
    if (HasFatalFailure() || active() != "vm.qcow2") return;
    if (random_.OneIn(150)) CheckByQemu(state);
  }

  // Each of the sizes was met.
  void ExpectEverySize() {
    for (size_t i = 0; i < sizes_.size(); ++i) EXPECT_GT(found_[i], 0) << sizes_[i].size;
  }

  struct Size {
    uint64_t size = 0;
    int64_t issued = 0;
    int64_t completed = 0;
  };

  std::map<std::string, Bytes> frozen_flats_;
  std::vector<Size> sizes_;      // in the order of the steps; the first is what it had
  std::map<size_t, int> found_;  // states, by step
  Bytes end_;                    // what lay beyond kSmall
};

TEST_P(DiskResizeCrash, ShrinkingAmongWrites) {
  Rounds(4 * WantedRounds(), 16, [this] { ResizeAmongWrites({kSmall}); });
  ExpectEverySize();
}

// What was cut off does not come back, and a longer backing does not shine through.
TEST_P(DiskResizeCrash, ShrinkingAndGrowingAgainAmongWrites) {
  Rounds(4 * WantedRounds(), 16, [this] { ResizeAmongWrites({kSmall, kGrown}); });
  ExpectEverySize();
}

INSTANTIATE_TEST_SUITE_P(
    Chains, DiskResizeCrash,
    ::testing::Values(ResizeCase{"raw", {{.file = "vm.raw", .size = kLarge}}},
                      ResizeCase{"one", {{.file = "vm.qcow2", .size = kLarge}}},
                      ResizeCase{"two_on_a_longer_raw",
                                 {{.file = "base.raw", .size = kMost},
                                  {.file = "vm.qcow2", .below = "base.raw", .size = kLarge}}},
                      ResizeCase{"three",
                                 {{.file = "base.qcow2", .size = kLarge, .cluster_bits = 12},
                                  {.file = "mid.qcow2", .below = "base.qcow2", .size = kMost},
                                  {.file = "vm.qcow2", .below = "mid.qcow2", .size = kLarge}}},
                      ResizeCase{
                          "four_of_large_clusters",
                          {{.file = "base.raw", .size = kMost},
                           {.file = "low.qcow2", .below = "base.raw", .size = kGrown, .version = 2},
                           {.file = "mid.qcow2", .below = "low.qcow2", .size = kLarge},
                           {.file = "vm.qcow2",
                            .below = "mid.qcow2",
                            .size = kLarge,
                            .cluster_bits = 12,
                            .lazy = true}}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
