// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a mirror among guest writes: the real catalog and the job's own work, chunk by
// chunk, on a recording host; then every crash point, many states each. In every state no layer is
// corrupt, the chain that the records name shows each sector as it was flushed last or later, and
// no layer below shows anything but what it showed before. A sample is taken up by a new catalog
// and job manager: the job goes on by itself, the disk shows the same, and disk and target are
// equal at its end, though only regions that the log has marked are copied again.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios a case; CHAINFS_CRASH_STATES (default 8) states a
// point.
#include <utility>

#include "jobs/engine/guarded_work.h"
#include "jobs/engine/record_file.h"
#include "jobs/mirror/mirror_work.h"
#include "tests/crash/job_crash.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;
constexpr std::string_view kJob = "m1";

struct MirrorCase {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the guest's disk is the one called "vm"
  std::string target = "copy.qcow2";
  std::string sync = "full";
  std::string mode = "background";
  std::string then = "pivot";
};

std::ostream& operator<<(std::ostream& out, const MirrorCase& c) { return out << c.name; }

class MirrorCrash : public JobCrash<MirrorCase> {
 protected:
  void SetUp() override {
    JobCrash::SetUp();
    NoteFiles(GetParam().layers);
  }

  bool pivots() const { return GetParam().then == "pivot"; }
  const std::string& source() const { return files_.back(); }

  void Build() override {
    MakeChain(GetParam().layers, GetParam().layers.back().size);
    if (HasFatalFailure()) return;
    frozen_flats_ = FlatsByHand(host_, frozen_);
    OpenDisk();
    if (HasFatalFailure()) return;
    completed_ = UINT64_MAX;
  }

  // A mirror as the scheduler runs it, with guest operations wherever they may come.
  void MirrorByHand() {
    jobs::JobCommand command{.type = "mirror", .disk = disk_, .privileged = true};
    command.arguments.Set("target", GetParam().target)
        .Set("sync", GetParam().sync)
        .Set("copy-mode", GetParam().mode)
        .Set("then", GetParam().then);
    if (GetParam().target.ends_with(".qcow2")) command.arguments.Set("cluster_size", "4096");
    auto plan = jobs::PlanMirror(*catalog_, command);
    ASSERT_TRUE(plan) << plan.error().message;
    auto record =
        std::make_unique<jobs::RecordFile>(catalog_->records(), disk_,
                                           jobs::JobRecord{.id = std::string(kJob),
                                                           .type = "mirror",
                                                           .disk = "vm",
                                                           .command = jobs::CommandOf(*plan),
                                                           .privileged = true});
    auto made = std::make_unique<jobs::MirrorWork>(*catalog_, *plan, std::string(kJob));
    plan = Fail(ErrorKind::kStale, "used");
    ASSERT_TRUE(record->Create());
    const Status begun = made->Begin();
    ASSERT_TRUE(begun) << begun.error().message;
    jobs::GuardedWork work(std::move(made), std::move(record));
    CopyAll(work);
    const Status settled = work.Settle();
    ASSERT_TRUE(settled) << settled.error().message;
    GuestOperations(2);
    const Status pivoted = work.Pivot();
    ASSERT_TRUE(pivoted) << pivoted.error().message;
    ASSERT_TRUE(work.Release());
    work.Destroy();
    completed_ = host_->Mark("mirror completed");
    GuestOperations(4);
  }

  void CopyAll(jobs::GuardedWork& work) {
    const uint64_t step = work.work().unit();
    int chunks = 0;
    while (const std::optional<jobs::ChunkRange> range = work.work().source().Take(step)) {
      const jobs::ChunkResult chunk = work.Process(*range);
      ASSERT_TRUE(chunk) << chunk.error().error.message;
      work.work().source().Finished(*range);
      if (++chunks < 24 && random_.OneIn(2)) GuestOperations(1);
      // Marks are taken back now and then.
      if (random_.OneIn(4)) {
        ASSERT_TRUE(work.Settle());
      }
      if (HasFatalFailure()) return;
    }
  }

  // The file that the records say is active.
  std::string ActiveOn(MemHost& host) const {
    if (!host.Exists(".chainfs/chain-vm")) return source();
    const std::vector<std::byte> bytes = host.Contents(".chainfs/chain-vm");
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const bool moved =
        text.find("\"active\": \"" + GetParam().target + "\"") != std::string_view::npos;
    return moved ? GetParam().target : source();
  }

  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) override {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, files_), "");
    const std::string active = ActiveOn(*host);
    if (point > completed_) {
      ASSERT_EQ(active, pivots() ? GetParam().target : source());
      ASSERT_FALSE(host->Exists(".chainfs/job-m1"));
      ASSERT_FALSE(host->Exists(".chainfs/intent-m1"));
      ASSERT_EQ(CorruptionOf(*root, {GetParam().target}), "");
    }
    const auto flat = FlatByHand(*root, active, FormatOf(active));
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *flat), "");
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
  }

  // What the disk has left, or does not go on with yet, is no second disk to be written.
  static void ExpectOneToWrite(Catalog& catalog) {
    for (const DiskPtr& disk : catalog.Disks()) {
      const bool may_be =
          disk->name() == "vm" || (!GetParam().then.starts_with("pivot") && disk->name() == "copy");
      ASSERT_TRUE(may_be || disk->read_only()) << disk->name();
    }
  }

  // The next daemon: takes up what was not finished.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    ExpectOneToWrite(**catalog);
    if (HasFatalFailure()) return;
    jobs::EventLog events;
    jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
    const auto records = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(records);
    const bool recorded = !records->empty() && !records->front().contents.empty();
    const auto logs = (*catalog)->records().ReadAll("intent-");
    ASSERT_TRUE(logs);
    const bool kept = std::ranges::any_of(
        *logs, [](const auto& log) { return log.contents.find("\"kept\"") != std::string::npos; });
    jobs.ResumeRecorded();
    if (recorded) {
      const auto taken_up = jobs.Find("vm", kJob);
      ASSERT_TRUE(taken_up);
      ASSERT_FALSE(taken_up->status == jobs::JobStatus::kWaiting && taken_up->error)
          << *taken_up->error;
      const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
      ASSERT_TRUE(job);
      ASSERT_FALSE(job->error) << *job->error;
    }
    const auto left = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(left && left->empty());
    const auto logs_left = (*catalog)->records().ReadAll("intent-");
    ASSERT_TRUE(logs_left && logs_left->empty());
    ExpectOneToWrite(**catalog);
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_FALSE(disk->read_only()) << disk->ReadOnlyReason();
    const auto contents = ReadWholeDisk(*disk);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *contents), "");
    jobs.Shutdown();
    ASSERT_TRUE((*catalog)->Close());
    if (!recorded && point <= completed_) return;
    const std::unique_ptr<Directory> root = host->OpenRoot();
    const auto copy = FlatByHand(*root, GetParam().target, FormatOf(GetParam().target));
    ASSERT_TRUE(copy) << copy.error().message;
    ASSERT_EQ(CorruptionOf(*root, {GetParam().target}), "");
    // What was kept stays as it was, while guests write on, or a crash loses what they have not
    // flushed.
    if ((recorded && !kept) || pivots()) {
      ASSERT_EQ(Difference(*contents, *copy), "");
    }
  }

  void CheckState(const CrashState& state) override {
    CheckByHand(state.MakeHost(), state.point);
    if (HasFatalFailure()) return;
    if (random_.OneIn(10)) CheckByDaemon(state.MakeHost(), state.point);
  }

  std::map<std::string, Bytes> frozen_flats_;
  uint64_t completed_ = UINT64_MAX;  // index of the mark
};

TEST_P(MirrorCrash, EveryStateIsWholeAndGoesOn) {
  Rounds(WantedRounds(), 8, [this] {
    GuestOperations(3);
    if (!HasFatalFailure()) MirrorByHand();
  });
}

std::vector<LayerSpec> OneLayer() {
  return {{.file = "vm.qcow2", .size = 48 * kKiB, .cluster_bits = 12}};
}
std::vector<LayerSpec> TwoLayers() {
  return {{.file = "base.qcow2", .size = 40 * kKiB},
          {.file = "vm.qcow2", .below = "base.qcow2", .size = 48 * kKiB, .cluster_bits = 11}};
}
std::vector<LayerSpec> FourLayers() {
  return {{.file = "base.raw", .size = 24 * kKiB},
          {.file = "a.qcow2", .below = "base.raw", .size = 48 * kKiB, .cluster_bits = 12},
          {.file = "b.qcow2", .below = "a.qcow2", .size = 32 * kKiB},
          {.file = "vm.qcow2", .below = "b.qcow2", .size = 48 * kKiB}};
}
std::vector<LayerSpec> ThreeLayers() {
  return {{.file = "base.raw", .size = 48 * kKiB},
          {.file = "a.qcow2", .below = "base.raw", .size = 40 * kKiB},
          {.file = "vm.qcow2", .below = "a.qcow2", .size = 48 * kKiB, .cluster_bits = 10}};
}

INSTANTIATE_TEST_SUITE_P(
    Chains, MirrorCrash,
    ::testing::Values(MirrorCase{"full_pivot", OneLayer()},
                      MirrorCase{.name = "raw_to_raw_keep",
                                 .layers = {{.file = "vm.raw", .size = 48 * kKiB}},
                                 .target = "copy.raw",
                                 .then = "keep"},
                      MirrorCase{.name = "full_of_three_write_blocking_pivot",
                                 .layers = ThreeLayers(),
                                 .mode = "write-blocking"},
                      MirrorCase{.name = "top_pivot", .layers = ThreeLayers(), .sync = "top"},
                      MirrorCase{.name = "none_pivot", .layers = ThreeLayers(), .sync = "none"},
                      MirrorCase{.name = "full_of_two_keep",
                                 .layers = TwoLayers(),
                                 .mode = "write-blocking",
                                 .then = "keep"},
                      MirrorCase{.name = "top_of_four_pivot",
                                 .layers = FourLayers(),
                                 .sync = "top",
                                 .mode = "write-blocking"},
                      MirrorCase{.name = "to_raw_write_blocking_keep",
                                 .layers = ThreeLayers(),
                                 .target = "copy.raw",
                                 .mode = "write-blocking",
                                 .then = "keep"}),
    [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace chainfs
