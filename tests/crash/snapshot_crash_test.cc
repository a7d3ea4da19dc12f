// SPDX-License-Identifier: Apache-2.0
//
// Crash states of live snapshots among guest writes: the real catalog on a recording host, two
// snapshots one after the other, every crash point, many states each. In every state a new catalog
// shows the chain under its name, writable, with each sector at the value flushed last or a later
// one; the layer that the snapshot froze is either still active, or shows what it showed when it
// was frozen; nothing is listed as broken; and what is written then is there the next time.
//
// CHAINFS_CRASH_ROUNDS (default 6) scenarios a case; CHAINFS_CRASH_STATES (default 16) states a
// point.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;

struct Case {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the last one is the guest's
  uint64_t max_size = 32 * kKiB;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class SnapshotCrash : public ::testing::TestWithParam<Case> {
 protected:
  struct Taken {
    std::string frozen;  // file name
    Bytes flat;
    uint64_t completed = 0;  // index of the mark
  };

  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  void GuestOperations(Disk& disk, int count) {
    for (int i = 0; i < count; ++i) {
      const Status done = guest_->RandomOperation(disk, random_);
      ASSERT_TRUE(done) << done.error().message;
    }
  }

  void TakeSnapshot(Catalog& catalog, const DiskPtr& disk, const std::string& target) {
    SnapshotRequest request;
    request.target = target;
    request.cluster_bits = 9 + static_cast<uint32_t>(random_.Below(4));
    const std::string frozen = disk->chain()->active->name;
    const auto overlay = catalog.Snapshot(disk, request);
    ASSERT_TRUE(overlay) << overlay.error().message;
    Taken taken{.frozen = frozen, .flat = {}, .completed = host_->Mark("snapshot taken")};
    auto flat = FlatByHand(*host_->OpenRoot(), frozen, FormatOf(frozen));
    ASSERT_TRUE(flat) << flat.error().message;
    taken.flat = *std::move(flat);
    snapshots_.push_back(std::move(taken));
  }

  void RunScenario() {
    host_ = MemHost::Create();
    guest_ = std::make_unique<Guest>(host_, GetParam().max_size);
    snapshots_.clear();
    BuildChain(host_, GetParam().layers, *guest_, random_);
    if (HasFatalFailure()) return;
    std::vector<std::string> below;
    for (const LayerSpec& layer : GetParam().layers) below.push_back(layer.file);
    below.pop_back();
    frozen_flats_ = FlatsByHand(host_, below);
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    guest_->set_may_grow(true);
    host_->StartRecording();
    GuestOperations(*disk, 3);
    if (!HasFatalFailure()) TakeSnapshot(**catalog, disk, "");
    if (!HasFatalFailure()) GuestOperations(*disk, 4);
    if (!HasFatalFailure()) TakeSnapshot(**catalog, disk, "second.qcow2");
    if (!HasFatalFailure()) GuestOperations(*disk, 3);
    if (HasFatalFailure()) return;
    ASSERT_EQ(guest_->CheckNow(*disk), "");
    ASSERT_TRUE((*catalog)->Close());
  }

  void CheckFrozen(Directory& root, const std::string& active, uint64_t point) {
    ASSERT_EQ(ChangedFlat(root, frozen_flats_), "");
    bool beneath = true;  // the layers that were frozen before the active one was
    for (const Taken& taken : snapshots_) {
      if (taken.frozen == active) beneath = false;
      if (point > taken.completed) {
        ASSERT_TRUE(beneath) << "the snapshot is lost";
      }
      if (!beneath) continue;
      const auto flat = FlatByHand(root, taken.frozen, FormatOf(taken.frozen));
      ASSERT_TRUE(flat) << flat.error().message;
      ASSERT_EQ(Difference(taken.flat, *flat), "") << taken.frozen;
    }
  }

  void CheckState(const CrashState& state) {
    const auto host = state.MakeHost();
    const std::unique_ptr<Directory> root = host->OpenRoot();
    const std::string active = ActiveByHand(host, GetParam().layers.back().file);
    const auto by_hand = FlatByHand(*root, active, FormatOf(active));
    ASSERT_TRUE(by_hand) << by_hand.error().message;
    ASSERT_EQ(guest_->CheckCrash(state.point, *by_hand), "");
    CheckFrozen(*root, active, state.point);
    if (HasFatalFailure()) return;
    if (random_.OneIn(300)) CheckByQemu(state, active, *by_hand);
    if (HasFatalFailure()) return;

    Guest further(nullptr, GetParam().max_size);
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      ASSERT_TRUE((*catalog)->Broken().empty()) << (*catalog)->Broken().front().error.message;
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      ASSERT_FALSE(disk->read_only());
      ASSERT_EQ(disk->chain()->active->name, active);
      const auto contents = ReadWholeDisk(*disk);
      ASSERT_TRUE(contents) << contents.error().message;
      ASSERT_EQ(Difference(*by_hand, *contents), "");
      if (!random_.OneIn(5)) return;
      further.Accept(*contents);
      for (int i = 0; i < 4; ++i) {
        const Status done = further.RandomOperation(*disk, random_);
        ASSERT_TRUE(done) << done.error().message;
      }
      const auto overlay = (*catalog)->Snapshot(disk, {.cluster_bits = 9});
      ASSERT_TRUE(overlay) << overlay.error().message;
      ASSERT_TRUE(further.Write(*disk, 0, 2));
      ASSERT_TRUE((*catalog)->Close());
    }
    auto again = OpenMemCatalog(host);
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_TRUE((*again)->Broken().empty()) << (*again)->Broken().front().error.message;
    const DiskPtr disk = (*again)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_EQ(further.CheckNow(*disk), "");
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
  }

  void CheckByQemu(const CrashState& state, const std::string& active, const Bytes& by_hand) {
    const TempDir dir;
    ASSERT_TRUE(state.MakeHost()->ExportTo(dir.path()));
    const std::string format(FormatOf(active).name());
    const CommandResult convert =
        RunCommand({"qemu-img", "convert", "-f", format, "-O", "raw", dir / active, dir / "flat"});
    ASSERT_TRUE(convert.ok()) << convert.Describe();
    const std::string flat = ReadTextFile(dir / "flat");
    ASSERT_EQ(Difference(by_hand, std::as_bytes(std::span(flat))), "");
  }

  Random random_;
  std::shared_ptr<MemHost> host_;
  std::unique_ptr<Guest> guest_;
  std::map<std::string, Bytes> frozen_flats_;
  std::vector<Taken> snapshots_;
};

TEST_P(SnapshotCrash, EveryStateOpensWritableAndLosesNothing) {
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", 6);
  uint64_t states = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    RunScenario();
    if (HasFatalFailure()) return;
    CrashEnumerator crash(host_->StopRecording(),
                          {.seed = random_.Next(),
                           .max_states_per_point = FromEnvironment("CHAINFS_CRASH_STATES", 16)});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckState(state);
      return !HasFailure();
    });
    states += crash.visited();
  }
  RecordProperty("states", static_cast<int>(states));
  std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(states));
}

INSTANTIATE_TEST_SUITE_P(
    Chains, SnapshotCrash,
    ::testing::Values(
        Case{"of_raw", {{.file = "vm.raw", .below = "", .size = 16 * kKiB}}},
        Case{"of_qcow2",
             {{.file = "base.raw", .below = "", .size = 20 * kKiB},
              {.file = "vm.qcow2", .below = "base.raw", .size = 16 * kKiB + 512}}},
        Case{"of_chain",
             {{.file = "base.qcow2", .below = "", .size = 20 * kKiB, .cluster_bits = 12},
              {.file = "mid.qcow2", .below = "base.qcow2", .size = 12 * kKiB},
              {.file = "vm.qcow2",
               .below = "mid.qcow2",
               .size = 20 * kKiB,
               .cluster_bits = 10,
               .version = 2}}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
