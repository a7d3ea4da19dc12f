// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a backup among guest writes: the real catalog and the job's own work and record,
// chunk by chunk, so that a seed repeats the run, on a recording host; then every crash point, many
// states each. In every state the disk's chain opens through its record and the names in the
// headers, no layer is corrupt, each sector holds the value flushed last or a later one, what has
// the target's name is the whole point in time, the frozen layer shows the point until it is marked
// as changing, and no other layer shows anything else than before. A sample is taken up by a new
// catalog and job manager: the backup ends with the point in time of its start, and one chain is
// left. The same of a backup that is cancelled.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios a case; CHAINFS_CRASH_STATES (default 8) states a
// point.
#include <utility>

#include "jobs/backup/backup_type.h"
#include "jobs/engine/guarded_work.h"
#include "jobs/engine/record_file.h"
#include "tests/crash/job_crash.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr const char* kOverlay = "vm.b1.qcow2";

struct Case {
  const char* name;
  std::vector<LayerSpec> layers;  // one chain, base first; the last one is "vm.qcow2"
  std::string target = "t.qcow2";
  std::string more = {};  // further keys, "sync=top"
  uint64_t max_size = 32 * kKiB;
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class BackupCrash : public JobCrash<Case> {
 protected:
  void SetUp() override {
    JobCrash::SetUp();
    NoteFiles(GetParam().layers);
  }

  static verbs::Arguments Command() {
    const std::string text =
        "target=/mem/" + GetParam().target + (GetParam().more.empty() ? "" : "," + GetParam().more);
    return verbs::Arguments::Parse(text, jobs::BackupType().keys).value();
  }

  void Build() override {
    MakeChain(GetParam().layers, GetParam().max_size);
    if (HasFatalFailure()) return;
    frozen_flats_ = FlatsByHand(host_, frozen_);
    OpenDisk();
    if (HasFatalFailure()) return;
    begun_ = completed_ = cancelled_ = UINT64_MAX;
    guest_->set_may_grow(GetParam().max_size > disk_->size());
  }

  // The job as it is accepted; null after a failure.
  std::unique_ptr<jobs::GuardedWork> BeginByHand() {
    auto plan = jobs::BackupType().plan(*catalog_,
                                        {.type = "backup", .disk = disk_, .arguments = Command()});
    EXPECT_TRUE(plan) << plan.error().message;
    if (!plan) return nullptr;
    std::unique_ptr<jobs::ChunkWork> made = plan->work("b1");
    jobs::JobRecord record{.id = "b1", .type = "backup", .disk = "vm", .command = plan->command};
    *plan = {};
    Status begun = made->Prepare();
    auto file = std::make_unique<jobs::RecordFile>(catalog_->records(), disk_, record);
    if (begun) begun = file->Create();
    if (begun) begun = made->Begin();
    EXPECT_TRUE(begun) << begun.error().message;
    if (!begun) return nullptr;
    begun_ = host_->Mark("backup begun");
    point_ = ReadWholeDisk(*disk_).value();
    return std::make_unique<jobs::GuardedWork>(std::move(made), std::move(file));
  }

  // Whether a chunk was processed.
  bool Step(jobs::GuardedWork& work) {
    const auto range = work.work().source().Take(work.work().unit());
    if (!range) return false;
    const jobs::ChunkResult chunk = work.Process(*range);
    EXPECT_TRUE(chunk) << chunk.error().error.message;
    work.work().source().Finished(*range);
    if (random_.OneIn(2)) GuestOperations(1);
    return !HasFailure();
  }

  void BackUpByHand() {
    const std::unique_ptr<jobs::GuardedWork> work = BeginByHand();
    if (work == nullptr) return;
    GuestOperations(2);
    while (Step(*work)) {
    }
    if (HasFailure()) return;
    // A disk that is merged does not grow meanwhile.
    guest_->set_may_grow(false);
    ASSERT_FALSE(work->work().EndMustWait());
    ASSERT_GT(work->work().source().left(), 0u);
    while (Step(*work)) {
    }
    if (HasFailure()) return;
    ASSERT_FALSE(work->work().EndMustWait());
    Status ended = work->Settle();
    if (ended) GuestOperations(2);
    if (ended) ended = work->Pivot();
    ASSERT_TRUE(ended) << ended.error().message;
    ASSERT_EQ(work->LeftOut().problem, "");
    ASSERT_TRUE(work->Release());
    work->Destroy();
    completed_ = host_->Mark("backup completed");
    GuestOperations(4);
  }

  void CancelByHand() {
    const std::unique_ptr<jobs::GuardedWork> work = BeginByHand();
    if (work == nullptr) return;
    GuestOperations(3);
    for (int i = 0; i < 2 && Step(*work); ++i) {
    }
    if (HasFailure()) return;
    guest_->set_may_grow(false);
    const Status undone = work->Undo("", [] { return false; });
    ASSERT_TRUE(undone) << undone.error().message;
    ASSERT_TRUE(work->Release());
    work->Destroy();
    cancelled_ = host_->Mark("backup cancelled");
    GuestOperations(4);
  }

  static bool AnyMark(const std::shared_ptr<MemHost>& host) {
    const auto records = host->OpenRoot()->OpenDirectory(".chainfs");
    if (!records) return false;
    const auto entries = (*records)->List().value();
    for (const DirectoryEntry& entry : entries) {
      if (entry.name.starts_with("merged-")) return true;
    }
    return false;
  }
  static std::string Partial() { return "." + GetParam().target + ".b1.part"; }

  // What must hold whatever has happened to the host until crash point `point` of the recording.
  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) override {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    const std::string active = ActiveByHand(host);
    ASSERT_TRUE(active == "vm.qcow2" || active == kOverlay) << active;
    std::vector<std::string> chain = files_;
    if (active == kOverlay) chain.emplace_back(kOverlay);
    ASSERT_EQ(CorruptionOf(*root, chain), "");
    const auto flat = FlatByHand(*root, active, ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *flat), "");
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
    if (active == kOverlay && !AnyMark(host)) {
      const auto frozen = FlatByHand(*root, "vm.qcow2", ImageFormat::kQcow2);
      ASSERT_TRUE(frozen) << frozen.error().message;
      ASSERT_EQ(Difference(point_, *frozen), "") << "the point in time";
    }
    if (host->Exists(GetParam().target)) ExpectIsThePoint(host);
    if (active == kOverlay) {
      ASSERT_TRUE(host->Exists(".chainfs/job-b1")) << "or nobody would merge it back";
    }
    if (point > completed_ || point > cancelled_) {
      ASSERT_EQ(active, "vm.qcow2");
      ASSERT_FALSE(host->Exists(".chainfs/job-b1"));
      ASSERT_FALSE(host->Exists(Partial()));
      // A cancelled one may have been whole by then.
      if (point > completed_) {
        ASSERT_TRUE(host->Exists(GetParam().target));
      }
    }
  }

  void ExpectIsThePoint(const std::shared_ptr<MemHost>& host) {
    const std::string& target = GetParam().target;
    const auto flat = FlatByHand(*host->OpenRoot(), target, FormatOf(target));
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(Difference(point_, *flat), "") << "what has the target's name";
  }

  // The next daemon: takes up what was not finished, and people go on using the disk.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    jobs::EventLog events;
    jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
    const auto records = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(records);
    const bool accepted = !records->empty() && !records->front().contents.empty();
    jobs.ResumeRecorded();
    const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
    if (accepted) {
      ASSERT_TRUE(job) << records->front().contents;
      ASSERT_TRUE(!job->error || *job->error == "cancelled") << *job->error;
    }
    const auto left = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(left && left->empty());
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
    ASSERT_EQ(disk->chain()->active->name, "vm.qcow2");
    ASSERT_FALSE(host->Exists(Partial()));
    ASSERT_FALSE(host->Exists(kOverlay));
    const auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *contents), "");
    // What was frozen before a command has returned may be frozen again, later.
    if (accepted && !job->error && point > begun_) ExpectIsThePoint(host);
    if (HasFatalFailure()) return;
    Guest further(nullptr, GetParam().max_size);
    further.Accept(*contents);
    for (int i = 0; i < 12; ++i) {
      const Status done = further.RandomOperation(*disk, random_);
      ASSERT_TRUE(done) << done.error().message;
    }
    ASSERT_EQ(further.CheckNow(*disk), "");
    jobs.Shutdown();
    ASSERT_TRUE((*catalog)->Close());
    ASSERT_EQ(CorruptionOf(*host->OpenRoot(), files_), "");
    ASSERT_EQ(ChangedFlat(*host->OpenRoot(), frozen_flats_), "");
  }

  void CheckState(const CrashState& state) override {
    CheckByHand(state.MakeHost(), state.point);
    if (!HasFailure() && random_.OneIn(25)) CheckByDaemon(state.MakeHost(), state.point);
  }

  std::map<std::string, Bytes> frozen_flats_;
  Bytes point_;                  // what the disk showed when it was frozen
  uint64_t begun_ = UINT64_MAX;  // indices of the marks
  uint64_t completed_ = UINT64_MAX;
  uint64_t cancelled_ = UINT64_MAX;
};

TEST_P(BackupCrash, TheTargetIsThePointOrNotThere) {
  Rounds(WantedRounds(), 8, [this] {
    GuestOperations(3);
    if (!HasFatalFailure()) BackUpByHand();
  });
}

TEST_P(BackupCrash, ACancelledOneLeavesTheChainAsItWas) {
  Rounds(WantedRounds(), 8, [this] {
    GuestOperations(3);
    if (!HasFatalFailure()) CancelByHand();
  });
}

INSTANTIATE_TEST_SUITE_P(
    Chains, BackupCrash,
    ::testing::Values(
        Case{.name = "one", .layers = {{.file = "vm.qcow2", .size = 16 * kKiB}}},
        Case{.name = "raw_target",
             .layers = {{.file = "base.raw", .size = 12 * kKiB},
                        {.file = "vm.qcow2", .below = "base.raw", .size = 16 * kKiB}},
             .target = "t.raw"},
        Case{.name = "compressed",
             .layers = {{.file = "base.qcow2", .size = 16 * kKiB, .cluster_bits = 11},
                        {.file = "vm.qcow2", .below = "base.qcow2", .size = 16 * kKiB}},
             .more = "compress=zlib,cluster_size=512"},
        Case{.name = "top_of_three",
             .layers = {{.file = "a.qcow2", .size = 20 * kKiB, .cluster_bits = 10},
                        {.file = "b.qcow2", .below = "a.qcow2", .size = 12 * kKiB},
                        {.file = "vm.qcow2", .below = "b.qcow2", .size = 16 * kKiB}},
             .more = "sync=top,cluster_size=1k"},
        Case{.name = "since_of_four",
             .layers = {{.file = "a.raw", .size = 16 * kKiB},
                        {.file = "b.qcow2", .below = "a.raw", .size = 16 * kKiB},
                        {.file = "c.qcow2", .below = "b.qcow2", .size = 8 * kKiB},
                        {.file = "vm.qcow2", .below = "c.qcow2", .size = 16 * kKiB, .lazy = true}},
             .more = "since=/mem/b.qcow2,cluster_size=512"}),
    [](const auto& chain) { return std::string(chain.param.name); });

}  // namespace
}  // namespace chainfs
