// SPDX-License-Identifier: Apache-2.0
//
// Crash states of a stream among guest writes: the real catalog and the job's own work (StreamWork
// and its record, chunk by chunk, so that a seed repeats the run) on a recording host; then every
// crash point, many states each. In every state the chain opens through the names in its headers,
// no layer is corrupt, each sector holds the value flushed last or a later one, the layer that is
// filled names the old backing file or the new one, and no other layer shows anything but what it
// showed before. A sample is taken up again by a new catalog and job manager, which are in turn
// crashed; a sample is judged by qemu-img. One more scenario runs the job manager itself beside two
// guest threads.
//
// CHAINFS_CRASH_ROUNDS (default 2) scenarios a case; CHAINFS_CRASH_STATES (default 10) states a
// point.
#include <utility>

#include "jobs/engine/guarded_work.h"
#include "jobs/engine/record_file.h"
#include "jobs/stream/stream_work.h"
#include "tests/crash/job_crash.h"

namespace chainfs {
namespace {

constexpr uint64_t kKiB = 1024;

struct Case {
  const char* name;
  std::vector<LayerSpec> layers;  // base first; the guest's disk is the one called "vm"
  std::string top = "vm.qcow2";   // file names
  std::string base = {};          // empty: none stays
  uint64_t max_size = 32 * kKiB;  // the guest's disk may grow up to it
  bool compress = false;
  bool remove = false;  // layers that are left out
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class StreamCrash : public JobCrash<Case> {
 protected:
  void SetUp() override {
    JobCrash::SetUp();
    bool stays = !GetParam().base.empty();  // from the base of the chain on up
    for (const LayerSpec& layer : GetParam().layers) {
      files_.push_back(layer.file);
      if (layer.file == GetParam().top) stays = true;
      if (layer.file != "vm.qcow2" && (stays || !GetParam().remove)) frozen_.push_back(layer.file);
      if (layer.file == GetParam().base) stays = false;
    }
  }

  void Build() override {
    // The guest's disk is made last, so the clones come before it in the list.
    MakeChain(GetParam().layers, GetParam().max_size);
    if (HasFatalFailure()) return;
    frozen_flats_ = FlatsByHand(host_, frozen_);
    OpenDisk();
    if (HasFatalFailure()) return;
    const auto old_backing = BackingOf(*host_->OpenRoot(), GetParam().top);
    ASSERT_TRUE(old_backing);
    old_backing_ = *old_backing;
    if (!GetParam().base.empty()) {
      new_backing_ = BackingReference{.name = GetParam().base,
                                      .format = std::string(FormatOf(GetParam().base).name())};
    } else {
      new_backing_.reset();
    }
    completed_ = UINT64_MAX;
    guest_->set_may_grow(GetParam().max_size > disk_->size());
  }

  // The stream hears of it.
  void ReadSomewhere() {
    Bytes out(512);
    ASSERT_TRUE(disk_->Read(GuestOffset(random_.Below(disk_->size())), out));
  }

  std::optional<std::string> BasePath() const {
    return GetParam().base.empty() ? std::nullopt : std::optional("/mem/" + GetParam().base);
  }

  // A stream as the scheduler runs it, with guest operations wherever they may come.
  void StreamByHand() {
    auto plan = jobs::PlanStream(*catalog_, *disk_, "/mem/" + GetParam().top, BasePath());
    ASSERT_TRUE(plan) << plan.error().message;
    if (GetParam().compress) plan->compression = ImageCompression::kZlib;
    // Now and then in another order than from the beginning to the end.
    if (random_.OneIn(2)) {
      for (int i = 0; i < 4; ++i) plan->trace.push_back({random_.Below(disk_->size()), 1});
    }
    auto made = std::make_unique<jobs::StreamWork>(
        *catalog_, disk_, *std::move(plan),
        GetParam().remove ? jobs::RemoveLayers::kInSources : jobs::RemoveLayers::kNo);
    const Status prepared = made->Prepare();
    ASSERT_TRUE(prepared) << prepared.error().message;
    verbs::Arguments command;
    command.Set("top", "/mem/" + GetParam().top).SetIf("base", BasePath());
    if (GetParam().compress) command.Set("compress", "zlib");
    if (GetParam().remove) command.Set("delete", "yes");
    auto record = std::make_unique<jobs::RecordFile>(
        catalog_->records(), disk_,
        jobs::JobRecord{.id = "s1", .type = "stream", .disk = "vm", .command = command});
    const Status recorded = record->Create();
    ASSERT_TRUE(recorded) << recorded.error().message;
    jobs::GuardedWork work(std::move(made), std::move(record));
    const uint64_t step = work.work().unit() * 4;
    while (const std::optional<jobs::ChunkRange> range = work.work().source().Take(step)) {
      const jobs::ChunkResult chunk = work.Process(*range);
      ASSERT_TRUE(chunk) << chunk.error().error.message;
      if (random_.OneIn(3)) GuestOperations(1);
      if (random_.OneIn(3)) ReadSomewhere();
      if (HasFatalFailure()) return;
    }
    const Status settled = work.Settle();
    ASSERT_TRUE(settled) << settled.error().message;
    compressed_ += HasCompressed() ? 1 : 0;
    GuestOperations(2);
    // Also in its midst, where the work takes no lock of the image's: at the record of the phase,
    // and where the layers are marked.
    int done_within = 0;
    host_->SetHook([&](const HostCall& call) {
      if (call.op != HostOp::kRename || done_within == 2) return 0;
      ++done_within;
      if (guest_->may_grow() && disk_->size() < GetParam().max_size) {
        EXPECT_TRUE(guest_->Grow(*disk_, std::min(disk_->size() + 3 * 512, GetParam().max_size)));
      }
      GuestOperations(2);
      return 0;
    });
    const Status pivoted = work.Pivot();
    host_->SetHook({});
    ASSERT_TRUE(pivoted) << pivoted.error().message;
    ASSERT_GT(done_within, 0);
    ASSERT_EQ(work.LeftOut().problem, "");
    ASSERT_TRUE(work.Release());
    work.Destroy();
    completed_ = host_->Mark("stream completed");
    GuestOperations(4);
  }

  bool HasCompressed() const {
    for (uint64_t at = 0; at < disk_->size();) {
      const auto extent = disk_->Map(GuestOffset(at), disk_->size() - at, MapDetail::kFast);
      if (!extent) return false;
      if (extent->kind == ExtentKind::kCompressed) return true;
      at += extent->length;
    }
    return false;
  }

  // The same by the job manager, on its own threads.
  void StreamWithThreads() {
    jobs::EventLog events;
    jobs::JobManager jobs(*catalog_, events, jobs::JobTypes(), {.threads = 2});
    jobs::StreamRequest request;
    request.disk = "vm";
    request.top = "/mem/" + GetParam().top;
    request.base = BasePath();
    if (GetParam().compress) request.compress = "zlib";
    if (GetParam().remove) request.remove = jobs::RemoveLayers::kInSources;
    const auto id = jobs::StartStream(jobs, *catalog_, request);
    ASSERT_TRUE(id) << id.error().message;
    GuestThreads();
    const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
    ASSERT_TRUE(job);
    ASSERT_FALSE(job->error) << *job->error;
    completed_ = host_->Mark("stream completed");
    jobs.Shutdown();
  }

  // What must hold whatever has happened to the host until crash point `point` of the recording.
  void CheckByHand(const std::shared_ptr<MemHost>& host, uint64_t point) override {
    const std::unique_ptr<Directory> root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, FilesThere(host)), "");
    const auto backing = BackingOf(*root, GetParam().top);
    ASSERT_TRUE(backing) << backing.error().message;
    const bool is_new = *backing == new_backing_;
    ASSERT_TRUE(is_new || *backing == old_backing_);
    if (!is_new || !GetParam().remove) {
      ASSERT_EQ(FilesThere(host), files_) << "layers went too early";
    }
    const bool has_record = host->Exists(".chainfs/job-s1");
    if (point > completed_) {
      ASSERT_TRUE(is_new);
      ASSERT_FALSE(has_record);
    }
    const auto flat = FlatByHand(*root, "vm.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(guest_->CheckCrash(point, *flat), "");
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
  }

  // The next daemon: takes up what was not finished, and people go on using the disk.
  void CheckByDaemon(const std::shared_ptr<MemHost>& host, uint64_t point) {
    auto catalog = OpenMemCatalog(host);
    ASSERT_TRUE(catalog) << catalog.error().message;
    ASSERT_TRUE((*catalog)->Broken().empty()) << (*catalog)->Broken().front().error.message;
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
      const auto backing = BackingOf(*host->OpenRoot(), GetParam().top);
      ASSERT_TRUE(backing && *backing == new_backing_);
    }
    const auto left = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(left && left->empty());
    const DiskPtr disk = (*catalog)->Find("vm");
    ASSERT_NE(disk, nullptr);
    ASSERT_FALSE(disk->read_only());
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
    ASSERT_EQ(ChangedFlat(*root, frozen_flats_), "");
    const auto flat = FlatByHand(*root, "vm.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(further.CheckNow(*flat), "");
  }

  void CheckState(const CrashState& state) override {
    CheckByHand(state.MakeHost(), state.point);
    if (HasFatalFailure()) return;
    if (random_.OneIn(25)) CheckByDaemon(state.MakeHost(), state.point);
    if (HasFatalFailure()) return;
    if (random_.OneIn(250)) CheckSecondCrash(state);
    if (HasFatalFailure()) return;
    if (random_.OneIn(500)) CheckByQemu(state);
  }

  std::map<std::string, Bytes> frozen_flats_;
  std::optional<BackingReference> old_backing_;
  std::optional<BackingReference> new_backing_;
  uint64_t completed_ = UINT64_MAX;  // index of the mark
  uint64_t compressed_ = 0;          // rounds that left something compressed
};

TEST_P(StreamCrash, EveryStateIsOldOrNew) {
  Rounds(WantedRounds(), 10, [this] {
    GuestOperations(3);
    if (!HasFatalFailure()) StreamByHand();
  });
  EXPECT_EQ(compressed_ > 0, GetParam().compress);
}

TEST_P(StreamCrash, EveryStateIsOldOrNewBesideGuestThreads) {
  Rounds(WantedRounds() / 2, 10, [this] {
    // A size that two threads change at once has no one history.
    guest_->set_may_grow(false);
    StreamWithThreads();
  });
}

INSTANTIATE_TEST_SUITE_P(
    Chains, StreamCrash,
    ::testing::Values(
        Case{"whole_c512",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 10},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}}},
        Case{.name = "two_layers_removing",
             .layers = {{.file = "base.qcow2", .size = 24 * kKiB},
                        {.file = "vm.qcow2", .below = "base.qcow2", .size = 24 * kKiB}},
             .remove = true},
        Case{.name = "intermediate_removing",
             .layers = {{.file = "base.qcow2", .size = 24 * kKiB, .cluster_bits = 10},
                        {.file = "a.qcow2", .below = "base.qcow2", .size = 24 * kKiB},
                        {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB},
                        {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             .top = "b.qcow2",
             .base = "base.qcow2",
             .remove = true},
        Case{"whole_c4k_of_c512",
             {{.file = "base.qcow2", .size = 32 * kKiB},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 32 * kKiB, .refcount_order = 0},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 32 * kKiB, .cluster_bits = 12}}},
        Case{"base_c512",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 12},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB, .refcount_order = 6}},
             "vm.qcow2",
             "base.raw"},
        // What lies in base beyond the end of "a" must not come to light, nor when vm grows.
        Case{
            "base_beyond_short_layer",
            {{.file = "base.qcow2", .size = 32 * kKiB},
             {.file = "a.qcow2", .below = "base.qcow2", .size = 9 * kKiB + 512},
             {.file = "b.qcow2", .below = "a.qcow2", .size = 14 * kKiB + 512, .cluster_bits = 11},
             {.file = "vm.qcow2", .below = "b.qcow2", .size = 20 * kKiB + 512, .cluster_bits = 10}},
            "vm.qcow2",
            "base.qcow2"},
        Case{"base_v2_c4k",
             {{.file = "base.raw", .size = 32 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 32 * kKiB, .cluster_bits = 12},
              {.file = "vm.qcow2",
               .below = "a.qcow2",
               .size = 32 * kKiB,
               .cluster_bits = 12,
               .version = 2}},
             "vm.qcow2",
             "base.raw"},
        Case{"intermediate_with_clone",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .lazy = true},
              {.file = "clone.qcow2", .below = "b.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 28 * kKiB}},
             "b.qcow2",
             "base.raw",
             28 * kKiB},
        Case{"intermediate_whole",
             {{.file = "base.qcow2", .size = 24 * kKiB, .cluster_bits = 12},
              {.file = "a.qcow2", .below = "base.qcow2", .size = 20 * kKiB, .cluster_bits = 10},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB, .cluster_bits = 12},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             "b.qcow2"},
        Case{"compressed_c512",
             {{.file = "base.raw", .size = 24 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 24 * kKiB},
              {.file = "b.qcow2", .below = "a.qcow2", .size = 24 * kKiB},
              {.file = "vm.qcow2", .below = "b.qcow2", .size = 24 * kKiB}},
             "vm.qcow2",
             {},
             32 * kKiB,
             true},
        Case{"compressed_c1k_with_base",
             {{.file = "base.raw", .size = 32 * kKiB},
              {.file = "a.qcow2", .below = "base.raw", .size = 30 * kKiB, .cluster_bits = 12},
              {.file = "vm.qcow2", .below = "a.qcow2", .size = 32 * kKiB, .cluster_bits = 10}},
             "vm.qcow2",
             "base.raw",
             32 * kKiB,
             true}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
