// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a commit among guest writes: the real catalog and the job's own work and record,
// chunk by chunk, so that a seed repeats the run, on a recording host; then every crash point, many
// states each. In every state the disk's chain opens through its record and the names in the
// headers, no layer is corrupt, each sector holds the value flushed last or a later one, the layer
// above top names the old backing file or base (or the record says so of the disk), and no layer
// but those that are spoilt shows anything but what it showed before. A sample is taken up again by
// a new catalog and job manager, which are in turn crashed; a sample is judged by qemu-img. One
// more scenario runs the job manager itself beside two guest threads.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios a case; CHAINFS_CRASH_STATES (default 8) states a
// point.
#include <set>
#include <utility>

#include "jobs/commit/commit_type.h"
#include "jobs/engine/guarded_work.h"
#include "jobs/engine/record_file.h"
#include "tests/crash/job_crash.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;

struct Case {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the last one is "vm.qcow2"
  std::string base;               // file names
  std::string top = "vm.qcow2";
  std::string more = {};          // further keys, "reclaim=yes"
  uint64_t max_size = 32 * kKiB;  // the guest's disk may grow up to it
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class CommitCrash : public JobCrash<Case> {
 protected:
  void SetUp() override {
    JobCrash::SetUp();
    bool below_base = true;
    bool merged = false;
    for (const LayerSpec& layer : GetParam().layers) {
      files_.push_back(layer.file);
      if (layer.file == GetParam().base) {
        below_base = false;
        merged = true;
      }
      if (layer.file == GetParam().top) merged = false;
      if (!below_base && !merged && above_.empty() && layer.file != GetParam().top) {
        above_ = layer.file;
      }
      if (merged) spoilt_.insert("/mem/" + layer.file);
      const bool kept = below_base || (!merged && !deletes() && !Active());
      if (kept && layer.file != "vm.qcow2") unchanged_.push_back(layer.file);
    }
  }

  static bool Active() { return GetParam().top == "vm.qcow2"; }
  static bool deletes() { return GetParam().more.find("delete=yes") != std::string::npos; }

  static verbs::Arguments Command() {
    const std::string text = "top=/mem/" + GetParam().top + ",base=/mem/" + GetParam().base +
                             (GetParam().more.empty() ? "" : "," + GetParam().more);
    return verbs::Arguments::Parse(text, jobs::CommitType().keys).value();
  }

  void Build() override {
    MakeChain(GetParam().layers, GetParam().max_size);
    if (HasFatalFailure()) return;
    unchanged_flats_ = FlatsByHand(host_, unchanged_);
    OpenDisk();
    if (HasFatalFailure()) return;
    if (!Active()) {
      const auto old_backing = BackingOf(*host_->OpenRoot(), above_);
      ASSERT_TRUE(old_backing);
      old_backing_ = *old_backing;
    }
    completed_ = UINT64_MAX;
    // A disk whose layers are merged into another one does not grow meanwhile.
    guest_->set_may_grow(!Active() && GetParam().max_size > disk_->size());
  }

  // A commit as the scheduler runs it, with guest operations wherever they may come.
  void CommitByHand() {
    auto plan = jobs::CommitType().plan(*catalog_,
                                        {.type = "commit", .disk = disk_, .arguments = Command()});
    ASSERT_TRUE(plan) << plan.error().message;
    std::unique_ptr<jobs::ChunkWork> made = plan->work("c1");
    jobs::JobRecord record{.id = "c1", .type = "commit", .disk = "vm", .command = plan->command};
    *plan = {};
    const Status prepared = made->Prepare();
    ASSERT_TRUE(prepared) << prepared.error().message;
    auto file = std::make_unique<jobs::RecordFile>(catalog_->records(), disk_, record);
    const Status recorded = file->Create();
    ASSERT_TRUE(recorded) << recorded.error().message;
    const Status begun = made->Begin();
    ASSERT_TRUE(begun) << begun.error().message;
    jobs::GuardedWork work(std::move(made), std::move(file));
    const uint64_t step = work.work().unit() * 4;
    while (const std::optional<jobs::ChunkRange> range = work.work().source().Take(step)) {
      const jobs::ChunkResult chunk = work.Process(*range);
      ASSERT_TRUE(chunk) << chunk.error().error.message;
      work.work().source().Finished(*range);
      if (random_.OneIn(3)) GuestOperations(1);
      if (HasFatalFailure()) return;
    }
    const Status settled = work.Settle();
    ASSERT_TRUE(settled) << settled.error().message;
    GuestOperations(2);
    Pivot(work);
    if (HasFatalFailure()) return;
    const LeftOutLayers left_out = work.LeftOut();
    ASSERT_EQ(left_out.problem, "");
    ASSERT_TRUE(work.Release());
    work.Destroy();
    completed_ = host_->Mark("commit completed");
    GuestOperations(4);
  }

  // Where the disk itself moves, its writes are held meanwhile; else guests write in its midst.
  void Pivot(jobs::GuardedWork& work) {
    int done_within = 0;
    if (!Active()) {
      host_->SetHook([&](const HostCall& call) {
        if (call.op != HostOp::kRename || done_within == 2) return 0;
        ++done_within;
        GuestOperations(2);
        return 0;
      });
    }
    const Status pivoted = work.Pivot();
    host_->SetHook({});
    ASSERT_TRUE(pivoted) << pivoted.error().message;
  }

  // The same by the job manager, on its own threads.
  void CommitWithThreads() {
    jobs::EventLog events;
    jobs::JobManager jobs(*catalog_, events, jobs::JobTypes(), {.threads = 2});
    const auto id =
        jobs.Start({.type = "commit", .disk = disk_, .arguments = Command(), .privileged = false});
    ASSERT_TRUE(id) << id.error().message;
    GuestThreads();
    const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
    ASSERT_TRUE(job);
    ASSERT_FALSE(job->error) << *job->error;
    completed_ = host_->Mark("commit completed");
    jobs.Shutdown();
  }

  // Whether the chain is the new one; a failure when it is neither.
  bool IsNew(const std::shared_ptr<MemHost>& host) {
    if (Active()) {
      const std::string active = ActiveByHand(host);
      EXPECT_TRUE(active == "vm.qcow2" || active == GetParam().base) << active;
      return active == GetParam().base;
    }
    const auto backing = BackingOf(*host->OpenRoot(), above_);
    EXPECT_TRUE(backing) << backing.error().message;
    const BackingReference base{.name = GetParam().base,
                                .format = std::string(FormatOf(GetParam().base).name())};
    const bool is_new = backing && *backing == base;
    EXPECT_TRUE(is_new || (backing && *backing == old_backing_));
    return is_new;
  }

  // What must hold whatever has happened to the host until crash point `point` of the recording.
  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) override {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, FilesThere(host)), "");
    const bool is_new = IsNew(host);
    ASSERT_FALSE(HasFailure());
    if (point > completed_) {
      ASSERT_TRUE(is_new);
      ASSERT_FALSE(host->Exists(".chainfs/job-c1"));
    }
    if (!is_new) {
      ASSERT_EQ(FilesThere(host), files_) << "merged layers went too early";
    }
    const auto flat = DiskByHand(host);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *flat), "");
    ASSERT_EQ(ChangedFlat(*root, unchanged_flats_), "");
  }

  // The next daemon: takes up what was not finished, and people go on using the disk.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    // Layers between that show a mixture are listed, with that reason.
    for (const BrokenImage& broken : (*catalog)->Broken()) {
      ASSERT_TRUE(spoilt_.contains(broken.path)) << broken.error.message;
    }
    jobs::EventLog events;
    jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
    const auto records = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(records);
    jobs.ResumeRecorded();
    const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
    // An empty one is a name that was claimed for a job which was not accepted yet.
    if (!records->empty() && !records->front().contents.empty()) {
      ASSERT_TRUE(job) << records->front().contents;
      ASSERT_FALSE(job->error) << *job->error;
      ASSERT_TRUE(IsNew(host));
    }
    const auto left = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(left && left->empty());
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
    const auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *contents), "");
    Guest further(nullptr, GetParam().max_size);
    further.Accept(*contents);
    for (int i = 0; i < 12; ++i) {
      const Status done = further.RandomOperation(*disk, random_);
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_EQ(further.CheckNow(*disk), "");
    jobs.Shutdown();
    ASSERT_TRUE((*catalog)->Close());
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, FilesThere(host)), "");
    ASSERT_EQ(ChangedFlat(*root, unchanged_flats_), "");
    const auto flat = DiskByHand(host);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(further.CheckNow(*flat), "");
  }

  void CheckState(const CrashState& state) override {
    CheckByHand(state.MakeHost(), state.point);
    if (HasFailure()) return;
    if (random_.OneIn(25)) CheckByDaemon(state.MakeHost(), state.point);
    if (HasFailure()) return;
    if (random_.OneIn(250)) CheckSecondCrash(state);
    if (HasFailure()) return;
    if (random_.OneIn(500)) CheckByQemu(state);
  }

  std::vector<std::string> unchanged_;
  std::set<std::string> spoilt_;  // paths
  std::string above_;             // empty: the disk moves
  std::map<std::string, Bytes> unchanged_flats_;
  std::optional<BackingReference> old_backing_;
  uint64_t completed_ = UINT64_MAX;  // index of the mark
};

TEST_P(CommitCrash, EveryStateIsOldOrNew) {
  Rounds(WantedRounds(), 8, [this] {
    GuestOperations(3);
    if (!HasFatalFailure()) CommitByHand();
  });
}

TEST_P(CommitCrash, EveryStateIsOldOrNewBesideGuestThreads) {
  Rounds(WantedRounds() / 2, 8, [this] {
    // A size that two threads change at once has no one history.
    guest_->set_may_grow(false);
    CommitWithThreads();
  });
}

INSTANTIATE_TEST_SUITE_P(
    Chains, CommitCrash,
    ::testing::Values(
        Case{"one_into_raw",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 24 * kKiB}},
             "base.raw",
             "a.qcow2"},
        Case{"two_into_c4k",
             {{.file = "z.raw", .size = 32 * kKiB},
              {.file = "base.qcow2", .below = "z.raw", .size = 32 * kKiB, .cluster_bits = 12},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 32 * kKiB, .refcount_order = 0},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 32 * kKiB, .cluster_bits = 10},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 32 * kKiB}},
             "base.qcow2",
             "b.qcow2"},
        Case{"shorter_base",
             {{.file = "z.raw", .size = 24 * kKiB},
              {.file = "base.qcow2", .below = "z.raw", .size = 9 * kKiB + 512, .lazy = true},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 20 * kKiB, .cluster_bits = 11},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 20 * kKiB}},
             "base.qcow2",
             "a.qcow2",
             "",
             24 * kKiB},
        // What lies in base beyond the ends of a and b must not come to light.
        Case{
            "longer_base",
            {{.file = "base.qcow2", .size = 32 * kKiB},
             {.file = "a.qcow2", .below = "base.qcow2", .size = 7 * kKiB + 512},
             {.file = "b.qcow2", .below = "a.qcow2", .size = 12 * kKiB + 512, .cluster_bits = 10},
             {.file = "vm.qcow2", .below = "b.qcow2", .size = 20 * kKiB + 512, .cluster_bits = 11}},
            "base.qcow2",
            "b.qcow2"},
        Case{"beneath_frozen_and_reclaimed",
             {{.file = "base.qcow2", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 24 * kKiB, .cluster_bits = 10},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB},
              {.file = "c.qcow2", .below = "b.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "c.qcow2", .size = 24 * kKiB}},
             "base.qcow2",
             "b.qcow2",
             "reclaim=yes",
             24 * kKiB},
        // Past the end of a nothing of base shows, so what b has there must stay in b.
        Case{"reclaimed_over_a_shorter",
             {{.file = "base.qcow2", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 9 * kKiB + 512},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 11},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             "base.qcow2",
             "b.qcow2",
             "reclaim=yes",
             24 * kKiB},
        Case{"emptied",
             {{.file = "base.qcow2", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 10},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             "base.qcow2",
             "b.qcow2",
             "delete=empty"},
        Case{"deleted",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             "base.raw",
             "b.qcow2",
             "delete=yes"},
        Case{"compressed_beside_a_clone",
             {{.file = "z.raw", .size = 24 * kKiB},
              {.file = "clone.qcow2", .below = "z.raw", .size = 24 * kKiB},
              {.file = "base.qcow2", .below = "z.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 24 * kKiB}},
             "base.qcow2",
             "a.qcow2",
             "compress=zlib"},
        Case{"active_into_raw",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "base.raw", .size = 24 * kKiB}},
             "base.raw"},
        Case{"active_and_two_more",
             {{.file = "z.qcow2", .size = 24 * kKiB, .cluster_bits = 12},
              {.file = "base.qcow2", .below = "z.qcow2", .size = 24 * kKiB, .cluster_bits = 11},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 12},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             "base.qcow2"},
        Case{"active_into_shorter",
             {{.file = "z.raw", .size = 24 * kKiB},
              {.file = "base.qcow2", .below = "z.raw", .size = 11 * kKiB + 512},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 15 * kKiB},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 10}},
             "base.qcow2"},
        Case{"active_reclaimed",
             {{.file = "base.raw", .size = 192 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 192 * kKiB, .cluster_bits = 12},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 192 * kKiB, .cluster_bits = 12}},
             "base.raw",
             "vm.qcow2",
             "reclaim=yes",
             192 * kKiB},
        Case{"active_reclaimed_over_a_shorter",
             {{.file = "z.raw", .size = 96 * kKiB},
              {.file = "base.qcow2", .below = "z.raw", .size = 70 * kKiB, .cluster_bits = 11},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 80 * kKiB + 512},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 160 * kKiB, .cluster_bits = 12}},
             "base.qcow2",
             "vm.qcow2",
             "reclaim=yes",
             160 * kKiB},
        Case{"active_deleted",
             {{.file = "base.qcow2", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 24 * kKiB}},
             "base.qcow2",
             "vm.qcow2",
             "delete=yes"}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
