// SPDX-License-Identifier: Apache-2.0
//
// Crash states of snapshots of several disks at once, among guest writes: the real catalog on a
// recording host, every crash point, many states each. In every state a new catalog shows both
// disks, writable, each with every sector at the value flushed last or a later one; both have moved
// to their overlays, or neither; and it is still so at the mount after that.
//
// CHAINFS_CRASH_ROUNDS (default 6) scenarios; CHAINFS_CRASH_STATES (default 16) states a point.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"
#include "tests/support/crash_enumerator.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 16 * kKiB;

class GroupSnapshotCrash : public ::testing::Test {
 protected:
  struct Member {
    std::string name;
    std::vector<LayerSpec> layers;  // base first
    std::unique_ptr<Guest> guest = {};
  };

  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    members_.push_back({.name = "a",
                        .layers = {{.file = "below.qcow2", .below = "", .size = kSize},
                                   {.file = "a.qcow2", .below = "below.qcow2", .size = kSize}}});
    members_.push_back({.name = "b", .layers = {{.file = "b.raw", .below = "", .size = kSize}}});
  }

  void GuestOperations(Catalog& catalog, int count) {
    for (int i = 0; i < count; ++i) {
      for (Member& member : members_) {
        const Status done = member.guest->RandomOperation(*catalog.Find(member.name), random_);
        ASSERT_TRUE(done) << done.error().message;
      }
    }
  }

  void RunScenario() {
    host_ = MemHost::Create();
    for (Member& member : members_) {
      member.guest = std::make_unique<Guest>(host_, kSize);
      BuildChain(host_, member.layers, *member.guest, random_);
      if (HasFatalFailure()) return;
    }
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    host_->StartRecording();
    GuestOperations(**catalog, 2);
    for (size_t round = 0; round < 2 && !HasFatalFailure(); ++round) {
      std::vector<GroupMember> group;
      for (const Member& member : members_) {
        group.push_back({.disk = (*catalog)->Find(member.name), .request = {.cluster_bits = 9}});
      }
      const auto overlays = (*catalog)->moves().SnapshotTogether({.members = group});
      ASSERT_TRUE(overlays) << overlays.error().message;
      taken_[round] = host_->Mark("snapshots taken");
      GuestOperations(**catalog, 2);
    }
    if (HasFatalFailure()) return;
    ASSERT_TRUE((*catalog)->Close());
  }

  // How many overlays were made for each; -1 when they differ.
  static int Moves(Catalog& catalog) {
    const size_t a = catalog.Find("a")->chain()->depth() - 2;
    const size_t b = catalog.Find("b")->chain()->depth() - 1;
    return a == b ? static_cast<int>(a) : -1;
  }

  void CheckOpen(Catalog& catalog, const CrashState& state) {
    ASSERT_TRUE(catalog.Broken().empty()) << catalog.Broken().front().error.message;
    for (const Member& member : members_) {
      const DiskPtr disk = catalog.Find(member.name);
      ASSERT_NE(disk, nullptr) << member.name;
      ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
      const auto contents = ReadWholeDisk(*disk);
      ASSERT_TRUE(contents) << contents.error().message;
      ASSERT_EQ(member.guest->CheckCrash(state.point, *contents), "") << member.name;
    }
  }

  static bool AnyGroupIsLeft(MemHost& host) {
    const auto records = host.OpenRoot()->OpenDirectory(".chainfs");
    if (!records) return false;
    const auto entries = (*records)->List();
    return !entries || std::ranges::any_of(*entries, [](const DirectoryEntry& entry) {
      return entry.name.starts_with("group-");
    });
  }

  void CheckState(const CrashState& state) {
    const auto host = state.MakeHost();
    int moves = 0;
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      CheckOpen(**catalog, state);
      if (HasFatalFailure()) return;
      moves = Moves(**catalog);
      ASSERT_GE(moves, 0) << "one disk has moved and the other has not";
      ASSERT_GE(moves, (state.point > taken_[0] ? 1 : 0) + (state.point > taken_[1] ? 1 : 0));
      ASSERT_TRUE((*catalog)->Close());
    }
    ASSERT_FALSE(AnyGroupIsLeft(*host));
    if (!random_.OneIn(4)) return;
    auto again = OpenMemCatalog(host);
    ASSERT_TRUE(again) << again.error().message;
    CheckOpen(**again, state);
    if (HasFatalFailure()) return;
    ASSERT_EQ(Moves(**again), moves);
    ASSERT_TRUE((*again)->Rescan());
    for (const std::string name : {"a", "b"}) {
      const std::string record = ".chainfs/chain-" + name;
      if (!host->Exists(record)) continue;
      const Bytes text = host->Contents(record);
      const std::string_view view(reinterpret_cast<const char*>(text.data()), text.size());
      ASSERT_EQ(view.find("\"next\""), std::string_view::npos) << view;
    }
  }

  Random random_;
  std::shared_ptr<MemHost> host_;
  std::vector<Member> members_;
  std::array<uint64_t, 2> taken_ = {};  // indices of the marks
};

TEST_F(GroupSnapshotCrash, AllDisksHaveMovedOrNone) {
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

}  // namespace
}  // namespace chainfs
