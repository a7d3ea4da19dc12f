// SPDX-License-Identifier: Apache-2.0
//
// Four jobs of different kinds at once, each on a chain of its own, all of which stand on one base:
// a stream, a commit, a mirror that the disk goes on with, a backup. Guests write to all four disks
// meanwhile. At the end each disk shows what its guest has written, the backup what the disk was
// when it began, and the base what it was. This is what the sanitizers watch. Then the crash states
// of the same: every disk opens by its record and shows what it may, and a sample goes on by
// itself, all four jobs of it.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios; CHAINFS_CRASH_STATES (default 4) states a point.
#include <spdlog/spdlog.h>

#include <atomic>
#include <utility>

#include "tests/crash/crash_chain.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/effort.h"

namespace chainfs {
namespace {

using Items = std::vector<std::pair<std::string, std::string>>;

constexpr const char* kShared = "shared.qcow2";

// A disk, what its job is, and where it ends.
struct Member {
  std::string active;
  std::vector<LayerSpec> layers;  // above the shared base
  std::string type;
  Items command;
  std::string active_after;
  std::unique_ptr<Guest> guest = nullptr;
};

class FourJobs : public ::testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  static std::vector<Member> MakeMembers(uint64_t size, Random& random) {
    const std::string mode = random.OneIn(2) ? "background" : "write-blocking";
    const bool middle = random.OneIn(2);
    Items commit = {{"base", "/mem/c1.qcow2"}};
    if (middle) commit.emplace_back("top", "/mem/c2.qcow2");
    Items stream;
    if (random.OneIn(2)) stream.emplace_back("base", std::string("/mem/") + kShared);
    std::vector<Member> members;
    members.push_back(
        {.active = "s.qcow2",
         .layers = {{.file = "s1.qcow2", .below = kShared, .size = size, .cluster_bits = 10},
                    {.file = "s.qcow2", .below = "s1.qcow2", .size = size}},
         .type = "stream",
         .command = stream,
         .active_after = "s.qcow2"});
    members.push_back(
        {.active = "c.qcow2",
         .layers = {{.file = "c1.qcow2", .below = kShared, .size = size, .cluster_bits = 12},
                    {.file = "c2.qcow2", .below = "c1.qcow2", .size = size},
                    {.file = "c.qcow2", .below = "c2.qcow2", .size = size, .cluster_bits = 10}},
         .type = "commit",
         .command = commit,
         .active_after = middle ? "c.qcow2" : "c1.qcow2"});
    members.push_back({.active = "m.qcow2",
                       .layers = {{.file = "m.qcow2", .below = kShared, .size = size}},
                       .type = "mirror",
                       .command = {{"target", "n.qcow2"}, {"then", "pivot"}, {"copy-mode", mode}},
                       .active_after = "n.qcow2"});
    members.push_back(
        {.active = "b.qcow2",
         .layers = {{.file = "b1.qcow2", .below = kShared, .size = size},
                    {.file = "b.qcow2", .below = "b1.qcow2", .size = size, .cluster_bits = 10}},
         .type = "backup",
         .command = {{"target", "/mem/t.qcow2"}},
         .active_after = "b.qcow2"});
    return members;
  }

  // Time is that of the host's recording, or the guests' own.
  void Build(uint64_t size, bool recorded) {
    host_ = MemHost::Create();
    Guest below(nullptr, size);
    BuildChain(host_, {{.file = kShared, .size = size, .cluster_bits = 10}}, below, random_);
    if (HasFatalFailure()) return;
    shared_ = FlatsByHand(host_, {kShared});
    members_ = MakeMembers(size, random_);
    for (Member& member : members_) {
      member.guest = std::make_unique<Guest>(recorded ? host_ : nullptr, size);
      // The base has stamps of the same kind; what this guest writes has later numbers.
      Bytes unused(size);
      member.guest->model().Preload(0, unused);
      BuildChain(host_, member.layers, *member.guest, random_);
      if (HasFatalFailure()) return;
    }
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    point_.clear();
    begun_ = completed_ = UINT64_MAX;
  }

  static std::string NameOf(const Member& member) { return StemOfLayer(member.active); }

  void StartAll(jobs::JobManager& jobs) {
    for (const Member& member : members_) {
      verbs::Arguments arguments;
      for (const auto& [key, value] : member.command) arguments.Set(key, value);
      const uint64_t before = member.guest->model().BeginRead();
      const auto id = jobs.Start({.type = member.type,
                                  .disk = catalog_->Find(NameOf(member)),
                                  .arguments = arguments,
                                  .privileged = true});
      ASSERT_TRUE(id) << member.type << ": " << id.error().message;
      if (member.type != "backup") continue;
      const DiskPtr frozen = catalog_->Find(NameOf(member) + "@" + *id);
      ASSERT_NE(frozen, nullptr);
      point_ = ReadWholeDisk(*frozen).value();
      ASSERT_EQ(member.guest->model().CheckRead(before, 0, point_), "") << "the point in time";
    }
    begun_ = host_->Mark("all jobs begun");
  }

  // Two guests a disk, until all jobs are over, but no more than `most` operations each.
  void RunAll(int most) {
    jobs::EventLog events;
    jobs::JobManager jobs(*catalog_, events, jobs::JobTypes(), {.threads = 4});
    std::atomic<bool> over = false;
    std::vector<std::thread> threads;
    for (const Member& member : members_) {
      for (int t = 0; t < 2; ++t) {
        threads.emplace_back([this, most, &member, &over, own = random_.Fork()]() mutable {
          const DiskPtr disk = catalog_->Find(NameOf(member));
          for (int i = 0; i < most && !over; ++i) {
            const Status done = member.guest->RandomOperation(*disk, own);
            EXPECT_TRUE(done) << NameOf(member) << ": " << done.error().message;
          }
        });
      }
    }
    StartAll(jobs);
    WaitForJobs(jobs);
    completed_ = host_->Mark("all jobs completed");
    over = true;
    for (std::thread& thread : threads) thread.join();
    for (const jobs::JobInfo& job : jobs.Jobs("")) {
      EXPECT_FALSE(job.error) << job.type << ": " << *job.error;
    }
    jobs.Shutdown();
  }

  void ExpectAllAtTheEnd() {
    for (const Member& member : members_) {
      const DiskPtr disk = catalog_->Find(NameOf(member));
      ASSERT_NE(disk, nullptr);
      EXPECT_EQ(member.guest->CheckNow(*disk), "") << member.type;
      EXPECT_EQ(disk->chain()->active->name, member.active_after);
    }
    ASSERT_TRUE(catalog_->Close());
    catalog_.reset();
    CheckByHand(host_, UINT64_MAX);
    EXPECT_TRUE(host_->Exists("t.qcow2"));
  }

  // What must hold whatever has happened to the host until crash point `point` of the recording.
  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) {
    const auto root = host->OpenRoot();
    for (const Member& member : members_) {
      const std::string active = ActiveByHand(host, member.active);
      ASSERT_EQ(CorruptionOf(*root, {active}), "");
      const auto flat = FlatByHand(*root, active, FormatOf(active));
      ASSERT_TRUE(flat) << flat.error().message;
      ASSERT_EQ(member.guest->CheckCrash(point, *flat), "") << member.type;
      if (point > completed_) {
        ASSERT_EQ(active, member.active_after);
      }
    }
    ASSERT_EQ(ChangedFlat(*root, shared_), "");
    ExpectPoint(host);
  }
  void ExpectPoint(const std::shared_ptr<MemHost>& host) {
    if (!host->Exists("t.qcow2")) return;
    const auto flat = FlatByHand(*host->OpenRoot(), "t.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(Difference(point_, *flat), "") << "the backup";
  }

  // The next daemon: takes up what was not finished.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    jobs::EventLog events;
    jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
    jobs.ResumeRecorded();
    WaitForJobs(jobs);
    for (const jobs::JobInfo& job : jobs.Jobs("")) {
      EXPECT_FALSE(job.error) << job.type << ": " << *job.error;
    }
    const auto left = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(left && left->empty());
    for (const Member& member : members_) {
      const DiskPtr disk = (*catalog)->Find(NameOf(member));
      ASSERT_NE(disk, nullptr) << NameOf(member);
      ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
      const auto contents = ReadWholeDisk(*disk);
      ASSERT_TRUE(contents) << contents.error().message;
      ASSERT_EQ(member.guest->CheckCrash(point, *contents), "") << member.type;
      if (point > begun_) {
        ASSERT_EQ(disk->chain()->active->name, member.active_after);
      }
    }
    jobs.Shutdown();
    ASSERT_TRUE((*catalog)->Close());
    ASSERT_EQ(ChangedFlat(*host->OpenRoot(), shared_), "");
    // What was frozen before a command has returned may be frozen again, later.
    if (point > begun_) ExpectPoint(host);
  }

  Random random_;
  std::shared_ptr<MemHost> host_;
  std::vector<Member> members_;
  std::map<std::string, Bytes> shared_;
  std::unique_ptr<Catalog> catalog_;
  Bytes point_;                  // what the disk that is backed up showed when it was frozen
  uint64_t begun_ = UINT64_MAX;  // indices of the marks
  uint64_t completed_ = UINT64_MAX;
};

TEST_F(FourJobs, AtOnceOverASharedBase) {
  constexpr uint64_t kSize = 1 << 20;
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", Effort(8));
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    Build(kSize, /*recorded=*/false);
    if (!HasFatalFailure()) RunAll(400);
    if (!HasFatalFailure()) ExpectAllAtTheEnd();
  }
}

TEST_F(FourJobs, EveryCrashStateIsWholeAndGoesOn) {
  constexpr uint64_t kSize = 24 << 10;
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", 2);
  uint64_t states = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    Build(kSize, /*recorded=*/true);
    if (HasFatalFailure()) return;
    host_->StartRecording();
    RunAll(5);
    if (HasFailure()) return;
    auto recording = host_->StopRecording();
    ExpectAllAtTheEnd();
    if (HasFailure()) return;
    CrashEnumerator crash(std::move(recording),
                          {.seed = random_.Next(),
                           .max_states_per_point = FromEnvironment("CHAINFS_CRASH_STATES", 4)});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckByHand(state.MakeHost(), state.point);
      if (!HasFailure() && random_.OneIn(25)) CheckByDaemon(state.MakeHost(), state.point);
      return !HasFailure();
    });
    states += crash.visited();
  }
  std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(states));
}

}  // namespace
}  // namespace chainfs
