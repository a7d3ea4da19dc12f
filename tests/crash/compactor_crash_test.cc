// SPDX-License-Identifier: Apache-2.0
//
// Crash states of an automatic compaction among guest writes, and of a second one after a snapshot:
// the real compactor, catalog and job manager on their own threads, on a recording host; then every
// crash point, many states each. In every state the disk's chain opens through its record and the
// names in the headers, no layer is corrupt, each sector holds the value flushed last or a later
// one, every image is there and shows what it showed, and what other chains need is the same to the
// byte. A sample is opened by a new daemon, which goes on until the chain is short enough.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios a case; CHAINFS_CRASH_STATES (default 6) states a
// point.
#include <functional>

#include "ctl/control/compactor.h"
#include "tests/crash/job_crash.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr std::chrono::milliseconds kPatience{5};

struct Case {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the last one is "vm.qcow2"
  uint32_t most;
  size_t left;                           // how many layers there are at last
  std::vector<std::string> shared = {};  // what a clone needs
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class CompactorCrash : public JobCrash<Case> {
 protected:
  // What keeps chains short, for as long as it lives.
  struct Daemon {
    Daemon(Catalog& catalog, uint32_t most)
        : jobs(catalog, events, jobs::JobTypes(), {.threads = 2}),
          limits(catalog.records(), most),
          compactor(catalog, jobs, limits, kPatience) {}

    jobs::EventLog events;
    jobs::JobManager jobs;
    control::ChainLimits limits;
    control::Compactor compactor;
  };

  void SetUp() override {
    JobCrash::SetUp();
    for (const LayerSpec& layer : GetParam().layers) files_.push_back(layer.file);
  }

  void Build() override {
    MakeChain(GetParam().layers, GetParam().layers.back().size);
    if (HasFatalFailure()) return;
    std::vector<std::string> frozen = files_;
    frozen.pop_back();
    flats_ = FlatsByHand(host_, frozen);
    for (const std::string& file : GetParam().shared) bytes_[file] = host_->Contents(file);
    OpenDisk();
    compacted_ = UINT64_MAX;
  }

  // Until nothing is left to be merged.
  static void AwaitShort(Daemon& daemon, const DiskPtr& disk) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (disk->chain()->depth() > GetParam().left) {
      ASSERT_LT(std::chrono::steady_clock::now(), guard) << disk->chain()->depth() << " layers";
      daemon.compactor.LookSoon();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    const std::optional<jobs::JobInfo> job = WaitForJobs(daemon.jobs);
    ASSERT_FALSE(job && job->error) << *job->error;
    ASSERT_EQ(disk->chain()->depth(), GetParam().left);
  }

  void CompactTwice() {
    guest_->set_may_grow(false);
    Daemon daemon(*catalog_, GetParam().most);
    daemon.compactor.Start();
    GuestThreads();
    AwaitShort(daemon, disk_);
    if (HasFatalFailure()) return;
    const Result<LayerPtr> overlay = catalog_->Snapshot(disk_, {});
    ASSERT_TRUE(overlay) << overlay.error().message;
    GuestThreads();
    AwaitShort(daemon, disk_);
    if (HasFatalFailure()) return;
    compacted_ = host_->Mark("compacted");
    daemon.compactor.Stop();
    daemon.jobs.Shutdown();
  }

  static size_t DepthByHand(Directory& root, std::string name) {
    for (size_t depth = 1;; ++depth) {
      if (FormatOf(name) == ImageFormat::kRaw) return depth;
      const auto backing = BackingOf(root, name);
      EXPECT_TRUE(backing) << backing.error().message;
      if (!backing || !*backing) return depth;
      name = (*backing)->name;
    }
  }

  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) override {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(FilesThere(host), files_);
    ASSERT_EQ(CorruptionOf(*root, files_), "");
    const auto flat = DiskByHand(host);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *flat), "");
    ASSERT_EQ(ChangedFlat(*root, flats_), "");
    for (const auto& [file, bytes] : bytes_) {
      ASSERT_EQ(host->Contents(file), bytes) << file << " is another chain's";
    }
    if (point > compacted_) {
      ASSERT_EQ(DepthByHand(*root, ActiveByHand(host)), GetParam().left);
    }
  }

  // The next daemon goes on by itself.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    ASSERT_TRUE((*catalog)->Broken().empty()) << (*catalog)->Broken().front().error.message;
    DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    {
      Daemon daemon(**catalog, GetParam().most);
      daemon.jobs.ResumeRecorded();
      daemon.compactor.Start();
      AwaitShort(daemon, disk);
      daemon.compactor.Stop();
      daemon.jobs.Shutdown();
    }
    if (HasFailure()) return;
    const auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *contents), "");
    disk.reset();
    ASSERT_TRUE((*catalog)->Close());
    CheckByHand(host, point);
  }

  void CheckState(const CrashState& state) override {
    CheckByHand(state.MakeHost(), state.point);
    if (HasFailure()) return;
    if (random_.OneIn(40)) CheckByDaemon(state.MakeHost(), state.point);
    if (HasFailure()) return;
    if (random_.OneIn(500)) CheckByQemu(state);
  }

  std::map<std::string, Bytes> flats_;                   // of what is frozen
  std::map<std::string, std::vector<std::byte>> bytes_;  // of what is shared
  uint64_t compacted_ = UINT64_MAX;                      // index of the mark
};

TEST_P(CompactorCrash, TheChainShowsTheSameAndGetsShort) {
  Rounds(WantedRounds(), 6, [this] { CompactTwice(); });
}

INSTANTIATE_TEST_SUITE_P(
    Chains, CompactorCrash,
    ::testing::Values(
        Case{"two_into_one",
             {{.file = "base.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "base.qcow2", .size = 24 * kKiB}},
             1,
             1},
        Case{"four_over_raw",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 20 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 11},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             2,
             2},
        Case{"six",
             {{.file = "base.qcow2", .size = 16 * kKiB, .cluster_bits = 12},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 16 * kKiB, .lazy = true},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 16 * kKiB, .refcount_order = 0},
              {.file = "c.qcow2", .below = "b.qcow2", .size = 20 * kKiB, .cluster_bits = 10},
              {.file = "d.qcow2", .below = "c.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "d.qcow2", .size = 24 * kKiB, .cluster_bits = 11}},
             3,
             3},
        Case{"six_of_which_three_are_a_clones",
             {{.file = "base.raw", .size = 16 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 16 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 16 * kKiB},
              {.file = "clone.qcow2", .below = "b.qcow2", .size = 16 * kKiB},
              {.file = "c.qcow2", .below = "b.qcow2", .size = 16 * kKiB},
              {.file = "d.qcow2", .below = "c.qcow2", .size = 16 * kKiB, .cluster_bits = 11},
              {.file = "vm.qcow2", .below = "d.qcow2", .size = 16 * kKiB}},
             2,
             4,
             {"base.raw", "a.qcow2", "b.qcow2"}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
