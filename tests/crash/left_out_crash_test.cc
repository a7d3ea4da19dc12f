// SPDX-License-Identifier: Apache-2.0
//
// Crash states of what removes layers: a stream that deletes what it has merged, and a revert. The
// real catalog on a recording host, every crash point, many states each. In every state the chain
// opens through the names in its headers and shows what it ought to; a new catalog shows it,
// writable, with the same contents, and finishes what was begun.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios; CHAINFS_CRASH_STATES (default 12) states a point.
#include <spdlog/spdlog.h>

#include "tests/crash/crash_chain.h"
#include "tests/support/crash_enumerator.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;

class LeftOutCrash : public ::testing::Test {
 protected:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }

  void Build(const std::vector<LayerSpec>& layers) {
    host_ = MemHost::Create();
    guest_ = std::make_unique<Guest>(host_, 32 * kKiB);
    BuildChain(host_, layers, *guest_, random_);
  }

  // The disk that a new catalog shows; it can be written.
  static void ExpectShown(const std::shared_ptr<MemHost>& host, const std::string& active,
                          const Bytes& contents) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    ASSERT_TRUE((*catalog)->Broken().empty()) << (*catalog)->Broken().front().error.message;
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_EQ(disk->chain()->active->name, active);
    ASSERT_FALSE(disk->read_only());
    const auto shown = ReadWholeDisk(*disk);
    ASSERT_TRUE(shown) << shown.error().message;
    ASSERT_EQ(Difference(contents, *shown), "");
    ASSERT_TRUE((*catalog)->Close());
  }

  void ForEachState(const std::function<void(const CrashState&)>& check) {
    CrashEnumerator crash(host_->StopRecording(),
                          {.seed = random_.Next(),
                           .max_states_per_point = FromEnvironment("CHAINFS_CRASH_STATES", 12)});
    crash.ForEachState([&](const CrashState& state) {
      SCOPED_TRACE(state.Describe());
      check(state);
      return !HasFailure();
    });
    std::printf("[   INFO   ] %llu crash states\n",
                static_cast<unsigned long long>(crash.visited()));
  }

  Random random_;
  std::shared_ptr<MemHost> host_;
  std::unique_ptr<Guest> guest_;
};

TEST_F(LeftOutCrash, AStreamThatDeletesWhatItHasMerged) {
  for (uint64_t round = FromEnvironment("CHAINFS_CRASH_ROUNDS", 2); round > 0; --round) {
    Build({{.file = "base.qcow2", .below = "", .size = 16 * kKiB},
           {.file = "low.qcow2", .below = "base.qcow2", .size = 16 * kKiB},
           {.file = "mid.qcow2", .below = "low.qcow2", .size = 16 * kKiB},
           {.file = "vm.qcow2", .below = "mid.qcow2", .size = 16 * kKiB}});
    if (HasFatalFailure()) return;
    host_->StartRecording();
    uint64_t completed = 0;
    {
      auto catalog = OpenMemCatalog(host_);
      ASSERT_TRUE(catalog) << catalog.error().message;
      jobs::EventLog events;
      jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
      jobs::StreamRequest request;
      request.disk = "vm";
      request.base = "base.qcow2";
      request.remove = jobs::RemoveLayers::kInSources;
      ASSERT_TRUE(jobs::StartStream(jobs, **catalog, request));
      const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
      ASSERT_TRUE(job && !job->error);
      ASSERT_EQ(job->removed.size(), 2u);
      completed = host_->Mark("stream completed");
      jobs.Shutdown();
      ASSERT_TRUE((*catalog)->Close());
    }
    ForEachState([&](const CrashState& state) {
      const auto host = state.MakeHost();
      const auto flat = FlatByHand(*host->OpenRoot(), "vm.qcow2", ImageFormat::kQcow2);
      ASSERT_TRUE(flat) << flat.error().message;
      ASSERT_EQ(guest_->CheckCrash(state.point, *flat), "");
      if (state.point > completed) {
        ASSERT_FALSE(host->Exists("mid.qcow2"));
        ASSERT_FALSE(host->Exists("low.qcow2"));
      }
      // What is left can be opened, too.
      for (const std::string file : {"mid.qcow2", "low.qcow2"}) {
        if (!host->Exists(file)) continue;
        ASSERT_TRUE(FlatByHand(*host->OpenRoot(), file, ImageFormat::kQcow2)) << file;
      }
      if (!random_.OneIn(4)) return;
      ExpectShown(host, "vm.qcow2", *flat);
      // And is nobody's to write.
      auto catalog = OpenMemCatalog(host);
      ASSERT_TRUE(catalog);
      for (const char* name : {"mid", "low"}) {
        const DiskPtr left = (*catalog)->Find(name);
        ASSERT_TRUE(left == nullptr || left->read_only());
      }
    });
  }
}

TEST_F(LeftOutCrash, ARevert) {
  for (uint64_t round = FromEnvironment("CHAINFS_CRASH_ROUNDS", 2); round > 0; --round) {
    Build({{.file = "base.qcow2", .below = "", .size = 16 * kKiB},
           {.file = "vm.qcow2", .below = "base.qcow2", .size = 16 * kKiB}});
    if (HasFatalFailure()) return;
    const auto older = FlatByHand(*host_->OpenRoot(), "vm.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(older);
    Bytes newer;
    {
      auto catalog = OpenMemCatalog(host_);
      ASSERT_TRUE(catalog) << catalog.error().message;
      const DiskPtr disk = (*catalog)->Find("vm");
      for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE((*catalog)->Snapshot(disk, {.cluster_bits = 9}));
        for (int n = 0; n < 4; ++n) ASSERT_TRUE(guest_->Write(*disk, random_.Below(30), 2));
      }
      newer = *ReadWholeDisk(*disk);
      ASSERT_TRUE((*catalog)->Close());
    }
    host_->StartRecording();
    uint64_t completed = 0;
    {
      auto catalog = OpenMemCatalog(host_);
      ASSERT_TRUE(catalog) << catalog.error().message;
      const DiskPtr disk = (*catalog)->Find("vm");
      const Layers layers = disk->chain()->AllLayers();
      const auto dropped = (*catalog)->Revert(disk, *layers.at(2), false, false);
      ASSERT_TRUE(dropped) << dropped.error().message;
      ASSERT_EQ(dropped->removed.size(), 2u);
      ASSERT_EQ(dropped->problem, "");
      completed = host_->Mark("reverted");
      ASSERT_EQ(Difference(*older, *ReadWholeDisk(*disk)), "");
    }
    ForEachState([&](const CrashState& state) {
      const auto host = state.MakeHost();
      const std::string active = ActiveByHand(host);
      const auto flat = FlatByHand(*host->OpenRoot(), active, ImageFormat::kQcow2);
      ASSERT_TRUE(flat) << flat.error().message;
      ASSERT_EQ(Difference(active == "vm.qcow2" ? *older : newer, *flat), "");
      if (state.point > completed) {
        ASSERT_EQ(active, "vm.qcow2");
        ASSERT_FALSE(host->Exists("vm.1.qcow2"));
        ASSERT_FALSE(host->Exists("vm.2.qcow2"));
      }
      ExpectShown(host, active, *flat);
      if (active != "vm.qcow2") return;
      ASSERT_FALSE(host->Exists("vm.1.qcow2"));
      ASSERT_FALSE(host->Exists("vm.2.qcow2"));
    });
  }
}

}  // namespace
}  // namespace chainfs
