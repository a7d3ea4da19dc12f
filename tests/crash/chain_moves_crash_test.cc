// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a disk in use that goes on with a layer below its active one, among guest writes:
// the real catalog on a recording host, every crash point, many states each. In every state a new
// catalog shows the chain under its name, writable, with each sector at the value flushed last or a
// later one; nothing is listed as broken; and what is written then is there the next time, whether
// the layers that were left are kept or removed, or the move ends a point in time that a job held.
//
// CHAINFS_CRASH_ROUNDS (default 4) scenarios a case; CHAINFS_CRASH_STATES (default 12) states a
// point.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 16 * kKiB;

enum class Move : uint8_t { kKeep, kRemove, kHeld };

struct Case {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the last one is the guest's
  size_t to = 0;                  // index of the layer to go on with; not for kHeld
  Move move = Move::kKeep;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class ChainMovesCrash : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  void GuestOperations(Disk& disk, int count) {
    for (int i = 0; i < count; ++i) {
      const Status done = guest_->RandomOperation(disk, random_);
      ASSERT_TRUE(done) << done.error().message;
    }
  }

  static Status CopyInto(Disk& disk, const LayerPtr& to) {
    CHAINFS_ASSIGN(const Bytes all, ReadWholeDisk(disk));
    return to->image->writer()->Write(GuestOffset(0), all, nullptr);
  }

  // As a job does it: marks, a first round while the guest writes, the switch.
  void GoOnWith(Catalog& catalog, const DiskPtr& disk, const LayerPtr& to, bool remove) {
    const Layers layers = disk->chain()->AllLayers();
    const auto at = std::ranges::find(layers, to);
    const Layers changing(layers.begin() + 1, at + 1);
    ASSERT_TRUE(catalog.moves().MarkChanging(*disk, changing, *layers.front(), "job-1"));
    const Result<LayerLease> lease = catalog.leases().Take(to, LeaseKind::kCommitBase);
    ASSERT_TRUE(lease) << lease.error().message;
    ASSERT_TRUE(CopyInto(*disk, to));
    GuestOperations(*disk, 2);
    if (HasFatalFailure()) return;
    ContinueRequest request;
    request.to = to;
    request.remove_left = remove;
    request.job = "job-1";
    request.last_round = [&] { return CopyInto(*disk, to); };
    const auto moved = catalog.moves().ContinueOn(disk, request);
    ASSERT_TRUE(moved) << moved.error().message;
    ASSERT_EQ(moved->problem, "");
    moved_ = host_->Mark("moved");
  }

  void RunScenario() {
    const Case& c = GetParam();
    host_ = MemHost::Create();
    guest_ = std::make_unique<Guest>(host_, kSize);
    BuildChain(host_, c.layers, *guest_, random_);
    if (HasFatalFailure()) return;
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    host_->StartRecording();
    GuestOperations(*disk, 2);
    if (HasFatalFailure()) return;
    LayerPtr to;
    if (c.move == Move::kHeld) {
      const auto point = (*catalog)->moves().FreezeFor(disk, {.id = "job-1"});
      ASSERT_TRUE(point) << point.error().message;
      to = point->frozen;
      GuestOperations(*disk, 3);
      if (HasFatalFailure()) return;
    } else {
      const Layers layers = disk->chain()->AllLayers();
      to = layers[layers.size() - 1 - c.to];
    }
    to_ = to->name;
    GoOnWith(**catalog, disk, to, c.move != Move::kKeep);
    if (!HasFatalFailure()) GuestOperations(*disk, 3);
    if (HasFatalFailure()) return;
    ASSERT_EQ(guest_->CheckNow(*disk), "");
    ASSERT_TRUE((*catalog)->Close());
  }

  void CheckState(const CrashState& state) {
    const auto host = state.MakeHost();
    const std::unique_ptr<Directory> root = host->OpenRoot();
    const std::string active = ActiveByHand(host, GetParam().layers.back().file);
    if (state.point > moved_) {
      ASSERT_EQ(active, to_);
    }
    const auto by_hand = FlatByHand(*root, active, FormatOf(active));
    ASSERT_TRUE(by_hand) << by_hand.error().message;
    ASSERT_EQ(guest_->CheckCrash(state.point, *by_hand), "");
    if (random_.OneIn(300)) CheckByQemu(state, active, *by_hand);
    if (HasFatalFailure()) return;

    Guest further(nullptr, kSize);
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      ASSERT_TRUE((*catalog)->Broken().empty()) << (*catalog)->Broken().front().error.message;
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
      ASSERT_EQ(disk->chain()->active->name, active);
      const auto contents = ReadWholeDisk(*disk);
      ASSERT_TRUE(contents) << contents.error().message;
      ASSERT_EQ(Difference(*by_hand, *contents), "");
      if (!random_.OneIn(4)) return;
      further.Accept(*contents);
      for (int i = 0; i < 4; ++i) {
        const Status done = further.RandomOperation(*disk, random_);
        ASSERT_TRUE(done) << done.error().message;
      }
      ASSERT_TRUE((*catalog)->Rescan());
      ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
      ASSERT_TRUE((*catalog)->Close());
    }
    auto again = OpenMemCatalog(host);
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_TRUE((*again)->Broken().empty()) << (*again)->Broken().front().error.message;
    const DiskPtr disk = (*again)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
    ASSERT_EQ(further.CheckNow(*disk), "");
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
  std::string to_;
  uint64_t moved_ = 0;  // index of the mark
};

TEST_P(ChainMovesCrash, EveryStateOpensWritableAndLosesNothing) {
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", 4);
  uint64_t states = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    RunScenario();
    if (HasFatalFailure()) return;
    CrashEnumerator crash(host_->StopRecording(),
                          {.seed = random_.Next(),
                           .max_states_per_point = FromEnvironment("CHAINFS_CRASH_STATES", 12)});
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

const std::vector<LayerSpec> kOne = {{.file = "vm.raw", .below = "", .size = kSize}};
const std::vector<LayerSpec> kOnRaw = {
    {.file = "base.raw", .below = "", .size = kSize},
    {.file = "vm.qcow2", .below = "base.raw", .size = kSize, .cluster_bits = 10}};
const std::vector<LayerSpec> kFour = {
    {.file = "base.qcow2", .below = "", .size = kSize, .cluster_bits = 12},
    {.file = "one.qcow2", .below = "base.qcow2", .size = kSize},
    {.file = "two.qcow2", .below = "one.qcow2", .size = kSize, .cluster_bits = 11},
    {.file = "vm.qcow2", .below = "two.qcow2", .size = kSize, .cluster_bits = 10, .version = 2}};

INSTANTIATE_TEST_SUITE_P(
    Chains, ChainMovesCrash,
    ::testing::Values(
        Case{.name = "to_raw_base", .layers = kOnRaw, .to = 0, .move = Move::kKeep},
        Case{.name = "to_base_of_four", .layers = kFour, .to = 0, .move = Move::kKeep},
        Case{.name = "to_middle_removing", .layers = kFour, .to = 1, .move = Move::kRemove},
        Case{.name = "held_raw", .layers = kOne, .to = 0, .move = Move::kHeld},
        Case{.name = "held_chain", .layers = kFour, .to = 0, .move = Move::kHeld}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
