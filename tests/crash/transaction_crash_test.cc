// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a transaction that starts a backup, holds a point in time and takes a snapshot,
// each of a disk of its own: the real catalog and jobs on a recording host, every crash point, many
// states each. In every state all three have moved to their overlays, or none, and no disk shows
// anything else than before. The next daemon goes on with both jobs, to a good end with the point
// in time of the transaction, or with none, and leaves nothing of them. The same of an error at
// every call.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios; CHAINFS_CRASH_STATES (default 12) states a point.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"
#include "tests/support/crash_enumerator.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr uint64_t kSize = 16 * kKiB;
constexpr std::array<const char*, 3> kDisks = {"a", "b", "c"};

class TransactionCrash : public ::testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  static verbs::Arguments Arguments(const std::string& text) {
    return verbs::Arguments::Parse(text, jobs::FindJobType(jobs::JobTypes(), "backup")->keys)
        .value();
  }
  // Paused, so that nothing but the transaction is recorded.
  static std::vector<jobs::JobCommand> Commands(Catalog& catalog) {
    return {{.type = "backup",
             .disk = catalog.Find("a"),
             .arguments = Arguments("target=/mem/t.qcow2,cluster_size=512,id=ba"),
             .paused = true},
            {.type = "backup",
             .disk = catalog.Find("b"),
             .arguments = Arguments("then=hold,id=bb"),
             .paused = true}};
  }

  void MakeDisks() {
    host_ = MemHost::Create();
    for (const char* name : kDisks) {
      const std::string file = std::string(name) + ".qcow2";
      Guest guest(nullptr, kSize);
      BuildChain(host_, {{.file = file, .size = kSize}}, guest, random_);
      if (HasFatalFailure()) return;
      at_start_[name] = FlatByHand(*host_->OpenRoot(), file, ImageFormat::kQcow2).value();
    }
  }
  static Status Transaction(Catalog& catalog, jobs::JobManager& jobs) {
    return jobs.StartTogether(Commands(catalog),
                              {{.disk = catalog.Find("c"), .request = {.cluster_bits = 9}}});
  }

  void RunScenario() {
    MakeDisks();
    if (HasFatalFailure()) return;
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog) << catalog.error().message;
    {
      jobs::EventLog events;
      jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
      host_->StartRecording();
      const Status done = Transaction(**catalog, jobs);
      ASSERT_TRUE(done) << done.error().message;
      taken_ = host_->Mark("transaction");
      log_ = host_->StopRecording();
      jobs.Shutdown();
    }
    ASSERT_TRUE((*catalog)->Close());
  }

  static bool AnyRecord(MemHost& host, std::string_view prefix) {
    const auto records = host.OpenRoot()->OpenDirectory(".chainfs");
    if (!records) return false;
    const auto entries = (*records)->List().value();
    return std::ranges::any_of(
        entries, [&](const DirectoryEntry& entry) { return entry.name.starts_with(prefix); });
  }
  void ExpectContents(Catalog& catalog) {
    ASSERT_TRUE(catalog.Broken().empty()) << catalog.Broken().front().error.message;
    for (const char* name : kDisks) {
      const DiskPtr disk = catalog.Find(name);
      ASSERT_NE(disk, nullptr) << name;
      ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
      const auto contents = ReadWholeDisk(*disk);
      ASSERT_TRUE(contents) << contents.error().message;
      ASSERT_EQ(Difference(at_start_.at(name), *contents), "") << name;
    }
  }
  // Whether the transaction has happened, by the chains.
  bool HasHappened(Catalog& catalog) {
    const size_t depth = catalog.Find("a")->chain()->depth();
    EXPECT_EQ(catalog.Find("b")->chain()->depth(), depth);
    EXPECT_EQ(catalog.Find("c")->chain()->depth(), depth);
    return depth == 2;
  }

  // Other contents than at the point, before the jobs go on.
  static void WriteAll(Catalog& catalog) {
    const Bytes sector(512, std::byte{0xee});
    for (const char* name : kDisks) {
      const Status done = catalog.Find(name)->Write(GuestOffset(1024), sector);
      ASSERT_TRUE(done) << done.error().message;
    }
  }
  static void GoOn(Catalog& catalog, jobs::JobManager& jobs) {
    for (const auto& [disk, id] : {std::pair{"a", "ba"}, std::pair{"b", "bb"}}) {
      const Status resumed = jobs.Resume(catalog.Find(disk), id);
      ASSERT_TRUE(resumed) << resumed.error().message;
    }
    const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (jobs.Find("b", "bb")->status != jobs::JobStatus::kReady) {
      ASSERT_LT(std::chrono::steady_clock::now(), guard);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    ASSERT_TRUE(jobs.Complete(catalog.Find("b"), "bb", {}));
    WaitForJobs(jobs);
    for (const jobs::JobInfo& job : jobs.Jobs("")) ASSERT_FALSE(job.error) << *job.error;
  }

  // `must`: it has happened.
  void CheckNextDaemon(const std::shared_ptr<MemHost>& host, bool must) {
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      ExpectContents(**catalog);
      if (HasFatalFailure()) return;
      const bool happened = HasHappened(**catalog);
      ASSERT_FALSE(HasFailure()) << "some have moved and others have not";
      ++(happened ? happened_ : not_happened_);
      if (must) {
        ASSERT_TRUE(happened);
      }
      jobs::EventLog events;
      jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
      jobs.ResumeRecorded();
      if (happened) {
        ASSERT_EQ(jobs.Jobs("").size(), 2u);
        WriteAll(**catalog);
        if (!HasFatalFailure()) GoOn(**catalog, jobs);
        if (HasFatalFailure()) return;
      } else {
        WaitForJobs(jobs);
        for (const jobs::JobInfo& job : jobs.Jobs("")) {
          ASSERT_TRUE(job.error && job.error->find("interrupted") != std::string::npos);
        }
        ExpectContents(**catalog);
      }
      ASSERT_EQ((*catalog)->Find("a")->chain()->depth(), 1u);
      ASSERT_EQ((*catalog)->Find("b")->chain()->depth(), 1u);
      jobs.Shutdown();
      ASSERT_TRUE((*catalog)->Close());
      ASSERT_EQ(host->Exists("t.qcow2"), happened);
    }
    ASSERT_FALSE(host->Exists(".t.qcow2.ba.part"));
    ASSERT_FALSE(AnyRecord(*host, "job-"));
    ASSERT_FALSE(AnyRecord(*host, "target-"));
    if (host->Exists("t.qcow2")) {
      const auto flat = FlatByHand(*host->OpenRoot(), "t.qcow2", ImageFormat::kQcow2);
      ASSERT_TRUE(flat) << flat.error().message;
      ASSERT_EQ(Difference(at_start_.at("a"), *flat), "");
    }
    auto again = OpenMemCatalog(host);
    ASSERT_TRUE(again) << again.error().message;
    ASSERT_FALSE(AnyRecord(*host, "group-"));
    ASSERT_TRUE((*again)->Close());
  }

  Random random_;
  std::shared_ptr<MemHost> host_;
  std::map<std::string, Bytes> at_start_;
  decltype(std::declval<MemHost&>().StopRecording()) log_;
  uint64_t taken_ = 0;
  uint64_t happened_ = 0;  // states
  uint64_t not_happened_ = 0;
};

TEST_F(TransactionCrash, AllHasHappenedOrNothing) {
  const uint64_t rounds = FromEnvironment("CHAINFS_CRASH_ROUNDS", 2);
  uint64_t states = 0;
  for (uint64_t round = 0; round < rounds && !HasFailure(); ++round) {
    RunScenario();
    if (HasFatalFailure()) return;
    CrashEnumerator crash(std::move(log_),
                          {.seed = random_.Next(),
                           .max_states_per_point = FromEnvironment("CHAINFS_CRASH_STATES", 12)});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      CheckNextDaemon(state.MakeHost(), state.point > taken_);
      return !HasFailure();
    });
    states += crash.visited();
  }
  EXPECT_GT(happened_, 20u);
  EXPECT_GT(not_happened_, 20u);
  RecordProperty("states", static_cast<int>(states));
  std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(states));
}

// The same of an error at every call: the command is refused and nothing has happened, or all has.
TEST_F(TransactionCrash, AnErrorAtEveryCall) {
  MakeDisks();
  ASSERT_FALSE(HasFailure());
  const HostTree start = host_->Snapshot();
  uint64_t n = 0;
  for (bool struck = true; struck && !HasFailure(); ++n) {
    SCOPED_TRACE(n);
    ASSERT_LT(n, 2000u) << "the fault never stops striking";
    const auto host = MemHost::FromTree(start);
    Status done;
    {
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog) << catalog.error().message;
      jobs::EventLog events;
      jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
      const size_t fault = host->AddFault(
          {.matches = [](const HostCall&) { return true; }, .skip = n, .error = EIO});
      done = Transaction(**catalog, jobs);
      struck = host->FaultHits(fault) > 0;
      host->ClearFaults();
      jobs.Shutdown();
      (void)(*catalog)->Close();
    }
    if (!struck) {
      ASSERT_TRUE(done) << done.error().message;
    }
    CheckNextDaemon(host, done.has_value());
  }
  std::printf("[   INFO   ] %llu runs\n", static_cast<unsigned long long>(n));
}

}  // namespace
}  // namespace chainfs
