// SPDX-License-Identifier: Apache-2.0
//
// Every pair of operations on an image, in every order, over kinds of images: what a crash at any
// moment of the second one leaves of both (invariants Q2-1 to Q2-8 of
// blocklayer/formats/qcow2/README.md). Up to 10 pending changes are lost in every combination, torn
// writes included. Each state must open without corruption and show in each sector the value that
// was flushed last or a later one; some are crashed again while they are opened and closed, some
// are used further, some are judged by qemu-img.
//
// CHAINFS_CRASH_ROUNDS (default 1) times with other ranges; CHAINFS_CRASH_STATES (default 12)
// states for each crash point.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>

#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/effort.h"
#include "tests/support/image_model.h"
#include "tests/support/stamp.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

struct Kind {
  const char* name;
  Qcow2CreateOptions options;
  uint64_t clusters;  // of the disk; the last ones lie behind another L2 table where that fits
  size_t pairs = 1;   // one of so many is tried, others in each run; large clusters take long
};
std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

enum class Operation : uint8_t {
  kWritePart,        // first write of a part of a cluster
  kWriteWhole,       // of whole ones
  kOverwrite,        // allocated ones
  kWriteCompressed,  // over compressed ones
  kWriteZero,        // over zero clusters
  kWriteFar,         // through a new L2 table
  kWriteMany,        // as many as a new block of reference counts takes
  kZeroKeep,
  kZeroFree,
  kZeroPart,
  kDiscard,
  kPopulate,
  kPopulateCompressed,
  kUnpopulate,
  kGrow,
  kShrink,
  kSetBacking,
  kFlush,
};
constexpr size_t kOperations = 18;
constexpr std::array<const char*, kOperations> kNames = {
    "write part",          "write whole", "overwrite",  "write over compressed",
    "write over zeros",    "write far",   "write many", "zero, kept",
    "zero, freed",         "zero a part", "discard",    "populate",
    "populate compressed", "unpopulate",  "grow",       "shrink",
    "set backing",         "flush"};

// The disk by clusters: [0, 6) as below, [6, 12) written, [12, 16) compressed, [16, 20) zeros, then
// as below again; the last two are what growing adds and shrinking takes.
class Scenario {
 public:
  Scenario(const Kind& kind, Random& random) : kind_(kind), random_(random) {}

  uint64_t cluster() const { return uint64_t{1} << kind_.options.cluster_bits; }
  const SectorModel& model() const { return *model_; }
  const BufferBelow& below() const { return *below_; }

  void Prepare() {
    Qcow2CreateOptions options = kind_.options;
    const uint64_t size = kind_.clusters * cluster();
    options.virtual_size = size - 2 * cluster();
    options.backing = BackingReference{.name = "base.raw", .format = "raw"};
    ASSERT_TRUE(CreateQcow2(*host_->OpenRoot(), "a.qcow2", options));
    model_ = std::make_unique<SectorModel>(1, size / 512, [this](std::string what, bool raises) {
      return raises ? host_->Mark(std::move(what)) : host_->Note(std::move(what));
    });
    // Zeros stand over something; what growing adds is zeros, too.
    std::vector<std::byte> bytes(options.virtual_size, std::byte{0xee});
    const std::span<std::byte> all(bytes);
    model_->Preload(0, all.first(16 * cluster()));
    model_->Preload(20 * PerCluster(), all.subspan(20 * cluster()));
    below_ = std::make_unique<BufferBelow>(bytes);
    image_ = Open(host_);
    ASSERT_NE(image_, nullptr);
    const auto part = [&](uint64_t from, uint64_t to) {
      return std::span(bytes).subspan(from * cluster(), (to - from) * cluster());
    };
    ASSERT_TRUE(image_->Write(At(6), part(6, 12), below_.get()));
    ASSERT_TRUE(PopulateCompressed(*image_, At(12), part(12, 16)));
    ASSERT_TRUE(image_->WriteZeroes(At(16), 4 * cluster(), random_.OneIn(2), below_.get()));
    ASSERT_TRUE(image_->Flush());
    host_->StartRecording();
  }

  void Do(Operation operation) {
    switch (operation) {
      case Operation::kWritePart:
        return Write(Somewhere(0, 6) + Sectors(1, PerCluster() / 2), Sectors(1, PerCluster()));
      case Operation::kWriteWhole:
        return Write(random_.Below(4) * PerCluster(), 2 * PerCluster());
      case Operation::kOverwrite:
        return Write(Somewhere(6, 11), Sectors(1, PerCluster()));
      case Operation::kWriteCompressed:
        return Write(Somewhere(12, 15), Sectors(1, PerCluster()));
      case Operation::kWriteZero:
        return Write(Somewhere(16, 19), Sectors(1, PerCluster()));
      case Operation::kWriteFar:
        return Write(Somewhere(kind_.clusters - 6, kind_.clusters - 4), PerCluster());
      case Operation::kWriteMany:
        return Write(20 * PerCluster(), (kind_.clusters - 26) * PerCluster());
      case Operation::kZeroKeep:
      case Operation::kZeroFree:
        return Zero(Somewhere(5, 18) / PerCluster() * PerCluster(), 2 * PerCluster(),
                    operation == Operation::kZeroKeep);
      case Operation::kZeroPart:
        return Zero(Somewhere(4, 18), Sectors(1, PerCluster()), true);
      case Operation::kDiscard:
        return Discard(5 + random_.Below(13), 1 + random_.Below(3));
      case Operation::kPopulate:
      case Operation::kPopulateCompressed:
        return Populate(random_.Below(4), operation == Operation::kPopulateCompressed);
      case Operation::kUnpopulate:
        return Unpopulate();
      case Operation::kGrow:
        return Grow();
      case Operation::kShrink:
        return Shrink();
      case Operation::kSetBacking:
        return SetBacking();
      case Operation::kFlush:
        return Flush();
    }
  }

  std::shared_ptr<const Recording> Finish() {
    EXPECT_TRUE(image_->Close());
    image_.reset();
    return host_->StopRecording();
  }

  std::unique_ptr<WritableImage> Open(const std::shared_ptr<MemHost>& host) {
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    if (!file) {
      ADD_FAILURE() << file.error().message;
      return nullptr;
    }
    auto image = OpenQcow2Image(*std::move(file), cache_, {.owner = cache_.NewOwner()});
    if (!image) {
      ADD_FAILURE() << image.error().message;
      return nullptr;
    }
    return *std::move(image);
  }

 private:
  uint64_t PerCluster() const { return cluster() / 512; }
  GuestOffset At(uint64_t index) const { return GuestOffset(index * cluster()); }
  uint64_t Sectors(uint64_t least, uint64_t most) {
    return random_.Between(least, std::max(least, most));
  }
  // A sector of the clusters [from, to).
  uint64_t Somewhere(uint64_t from, uint64_t to) {
    return from * PerCluster() + random_.Below((to - from) * PerCluster());
  }

  void Write(uint64_t lba, uint64_t count) {
    std::vector<std::byte> data(count * 512);
    const auto ticket = model_->BeginWrite(lba, data);
    ASSERT_TRUE(image_->Write(GuestOffset(lba * 512), data, below_.get()));
    model_->End(ticket);
  }
  void Zero(uint64_t lba, uint64_t count, bool keep) {
    const auto ticket = model_->BeginZero(lba, count);
    ASSERT_TRUE(image_->WriteZeroes(GuestOffset(lba * 512), count * 512, keep, below_.get()));
    model_->End(ticket);
  }
  void Discard(uint64_t index, uint64_t count) {
    const auto ticket = model_->BeginDiscard(index * PerCluster(), count * PerCluster());
    ASSERT_TRUE(image_->Discard(At(index), count * cluster()));
    model_->End(ticket);
  }
  void Populate(uint64_t index, bool compressed) {
    std::vector<std::byte> data(2 * cluster());
    ASSERT_TRUE(below_->ReadBelow(At(index), data));
    if (compressed) {
      ASSERT_TRUE(PopulateCompressed(*image_, At(index), data));
    }
    ASSERT_TRUE(image_->Populate(At(index), data));
  }
  // Only where the image shows what lies below.
  void Unpopulate() {
    const auto shown = ReadWholeImage(*image_, below_.get());
    ASSERT_TRUE(shown);
    for (uint64_t index = 0; index < 16; ++index) {
      const auto same = [&](const std::vector<std::byte>& bytes) {
        return std::span(bytes).subspan(index * cluster(), cluster());
      };
      if (!std::ranges::equal(same(*shown), same(below_->bytes()))) continue;
      ASSERT_TRUE(image_->Unpopulate(At(index), cluster()));
    }
  }
  void Grow() {
    if (image_->virtual_size() == kind_.clusters * cluster()) return;
    ASSERT_TRUE(image_->Grow(kind_.clusters * cluster(), below_.get(), below_->bytes().size()));
  }
  // What it cuts off may be there still, until it has happened.
  void Shrink() {
    const uint64_t size = (kind_.clusters - 3) * cluster();
    const uint64_t from = size / 512;
    const auto cut = model_->BeginDiscard(from, PerCluster());
    ASSERT_TRUE(image_->Shrink(size));
    model_->End(cut);
  }
  // To another name of the same contents, and the other way round.
  void SetBacking() {
    const bool other = image_->backing() && image_->backing()->name == "base.raw";
    ASSERT_TRUE(image_->SetBacking(
        BackingReference{.name = other ? "other.raw" : "base.raw", .format = "raw"}));
  }
  void Flush() {
    const auto ticket = model_->BeginFlush();
    ASSERT_TRUE(image_->Flush());
    model_->End(ticket);
  }

  const Kind& kind_;
  Random& random_;
  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{1 << 20};
  std::unique_ptr<SectorModel> model_;
  std::unique_ptr<BufferBelow> below_;
  std::unique_ptr<WritableImage> image_;
};

class CrashStates : public testing::TestWithParam<Kind> {
 protected:
  void Try(Operation first, Operation second) {
    Scenario scenario(GetParam(), random_);
    ASSERT_NO_FATAL_FAILURE(scenario.Prepare());
    ASSERT_NO_FATAL_FAILURE(scenario.Do(first));
    if (random_.OneIn(3)) {
      ASSERT_NO_FATAL_FAILURE(scenario.Do(Operation::kFlush));
    }
    ASSERT_NO_FATAL_FAILURE(scenario.Do(second));
    CrashEnumerator crash(scenario.Finish(),
                          {.seed = random_.Next(), .max_states_per_point = most_});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      Check(scenario, state);
      return !HasFailure();
    });
    states_ += crash.visited();
  }

  // `point` of the model; of a second crash that of the first one.
  void CheckHost(Scenario& scenario, const std::shared_ptr<MemHost>& host, size_t point) {
    const auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
    ASSERT_TRUE(file);
    const auto report = CheckQcow2(**file);
    ASSERT_TRUE(report) << report.error().message;
    ASSERT_EQ(report->corruptions, 0u) << report->messages.front();
    std::unique_ptr<WritableImage> image = scenario.Open(host);
    ASSERT_NE(image, nullptr);
    auto contents = ReadWholeImage(*image, &scenario.below());
    ASSERT_TRUE(contents) << contents.error().message;
    const std::vector<std::byte> seen = *contents;
    // What is not there (yet, any more) has no other contents.
    contents->resize(scenario.model().sectors() * 512);
    ASSERT_EQ(scenario.model().CheckCrash(point, 0, *contents), "");
    if (random_.OneIn(60)) {
      // Damage that shows only when a free cluster is handed out again.
      ImageModel further(*image, &scenario.below(), seen);
      for (int i = 0; i < 50; ++i) {
        const Status done = further.RandomOperation(random_, image->cluster_size());
        ASSERT_TRUE(done) << done.error().message;
      }
      ASSERT_EQ(further.Verify(), "");
    }
    ASSERT_TRUE(image->Close());
    const auto after = CheckQcow2(image->file());
    ASSERT_TRUE(after);
    ASSERT_EQ(after->corruptions, 0u) << after->messages.front();
  }

  void Check(Scenario& scenario, const CrashState& state) {
    const auto host = state.MakeHost();
    const bool again = random_.OneIn(100);
    if (again) host->StartRecording();
    ASSERT_NO_FATAL_FAILURE(CheckHost(scenario, host, state.point));
    if (again) {
      // What its opening, and its use if it was used, had not made durable.
      CrashEnumerator second(host->StopRecording(),
                             {.seed = random_.Next(), .max_states_per_point = 4});
      second.ForEachStateAt(second.points() / 2, [&](const CrashState& later) {
        SCOPED_TRACE("and again: " + later.Describe());
        const auto file = later.MakeHost()->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
        const auto report = CheckQcow2(**file);
        EXPECT_TRUE(report && report->corruptions == 0);
        ++again_;
        return !HasFailure();
      });
    }
    if (random_.OneIn(4000)) AskQemu(state);
  }

  void AskQemu(const CrashState& state) {
    const TempDir dir;
    ASSERT_TRUE(state.MakeHost()->ExportTo(dir.path()));
    for (const char* name : {"base.raw", "other.raw"}) WriteTextFile(dir / name, "");
    const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", dir / "a.qcow2"});
    ASSERT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
    ++judged_;
  }

  Random random_;
  const size_t most_ = FromEnvironment("CHAINFS_CRASH_STATES", 60);
  uint64_t states_ = 0;
  uint64_t again_ = 0;
  uint64_t judged_ = 0;
};

TEST_P(CrashStates, OfEveryPairOfOperations) {
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", Effort(3));
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    for (size_t first = 0; first < kOperations && !HasFailure(); ++first) {
      for (size_t second = 0; second < kOperations && !HasFailure(); ++second) {
        // Under a sanitizer some of them.
        if (!random_.OneIn(GetParam().pairs * static_cast<size_t>(8 / Effort(8)))) continue;
        SCOPED_TRACE(fmt::format("{}, then {}", kNames[first], kNames[second]));
        Try(static_cast<Operation>(first), static_cast<Operation>(second));
      }
    }
  }
  EXPECT_GT(states_, 0u);
  fmt::print("[   INFO   ] {} crash states, {} crashed again, {} judged by qemu-img\n", states_,
             again_, judged_);
}

Qcow2CreateOptions Options(uint32_t cluster_bits, bool lazy = false, uint32_t refcount_order = 4) {
  Qcow2CreateOptions options;
  options.cluster_bits = cluster_bits;
  options.lazy_refcounts = lazy;
  options.refcount_order = refcount_order;
  return options;
}

Qcow2CreateOptions ExtendedL2(uint32_t cluster_bits, bool lazy) {
  Qcow2CreateOptions options = Options(cluster_bits, lazy);
  options.extended_l2 = true;
  return options;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, CrashStates,
    testing::Values(Kind{"c512", Options(9), 160}, Kind{"c512_lazy", Options(9, true), 160},
                    Kind{"c512_refcount64", Options(9, false, 6), 160},
                    Kind{"c4k", Options(12), 40}, Kind{"c4k_lazy", Options(12, true), 40},
                    Kind{"c64k", Options(16), 32, 8}, Kind{"c64k_lazy", Options(16, true), 32, 8},
                    Kind{"x16k", ExtendedL2(14, false), 36, 2},
                    Kind{"x16k_lazy", ExtendedL2(14, true), 36, 2}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
