// SPDX-License-Identifier: Apache-2.0
//
// A crash at every event of a rebase, with guest writes: the layer stands on the old base or the
// new one, the disk shows what was acknowledged, no other image has changed, and the next daemon
// ends the job.
#include "tests/crash/crash_chain.h"
#include "tests/support/crash_enumerator.h"

namespace chainfs {
namespace {

constexpr uint64_t kSize = 24 << 10;

struct Case {
  const char* name;
  std::vector<std::string> chain;  // base first; the last one is "vm.qcow2"
  std::string top;
  std::string base;  // the new one
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class RebaseCrash : public ::testing::TestWithParam<Case> {
 protected:
  // The chain, and another image that shows what `top` stands on.
  void Prepare() {
    guest_ = std::make_unique<Guest>(host_, kSize);
    std::vector<LayerSpec> layers;
    std::string old_base;
    for (const std::string& file : GetParam().chain) {
      if (file == GetParam().top) old_base = layers.back().file;
      const std::string below = layers.empty() ? "" : layers.back().file;
      layers.push_back({.file = file, .below = below, .size = kSize});
    }
    BuildChain(host_, layers, *guest_, random_);
    if (HasFatalFailure()) return;
    const auto root = host_->OpenRoot();
    const Bytes shown = FlatByHand(*root, old_base, FormatOf(old_base)).value();
    if (FormatOf(GetParam().base) == ImageFormat::kRaw) {
      host_->PutFile(GetParam().base, shown);
    } else {
      auto file = CreateQcow2(*root, GetParam().base, {.virtual_size = kSize, .cluster_bits = 10});
      ASSERT_TRUE(file);
      MetadataCache cache(1 << 20);
      const auto image =
          OpenQcow2Image(*std::move(file), cache, {.owner = cache.NewOwner()}).value();
      ASSERT_TRUE(image->Write(GuestOffset(0), shown, nullptr));
      ASSERT_TRUE(image->Close());
    }
    std::vector<std::string> others = GetParam().chain;
    others.back() = GetParam().base;
    others_ = FlatsByHand(host_, others);
  }

  void CheckState(const CrashState& state) {
    const auto host = state.MakeHost();
    const auto root = host->OpenRoot();
    ASSERT_EQ(CorruptionOf(*root, GetParam().chain), "");
    const auto backing = BackingOf(*root, GetParam().top);
    ASSERT_TRUE(backing && *backing);
    const bool is_new = (*backing)->name == GetParam().base;
    ++states_[is_new];
    if (state.point > completed_) {
      ASSERT_TRUE(is_new);
    }
    const auto flat = FlatByHand(*root, "vm.qcow2", ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    ASSERT_EQ(guest_->CheckCrash(state.point, *flat), "");
    ASSERT_EQ(ChangedFlat(*root, others_), "");
    if (random_.OneIn(20)) CheckByDaemon(host, state.point);
  }

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
    if (!records->empty() && !records->front().contents.empty()) {
      ASSERT_TRUE(job) << records->front().contents;
      ASSERT_FALSE(job->error) << *job->error;
      const auto backing = BackingOf(*host->OpenRoot(), GetParam().top);
      ASSERT_TRUE(backing && *backing && (*backing)->name == GetParam().base);
    }
    const auto left = (*catalog)->records().ReadAll("job-");
    ASSERT_TRUE(left && left->empty());
    {
      const DiskPtr disk = (*catalog)->Find("vm");
      ASSERT_NE(disk, nullptr);
      const auto contents = ReadWholeDisk(*disk);
      ASSERT_TRUE(contents);
      ASSERT_EQ(guest_->CheckCrash(point, *contents), "");
    }
    jobs.Shutdown();
    ASSERT_TRUE((*catalog)->Close());
  }

  Random random_;
  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  std::unique_ptr<Guest> guest_;
  std::map<std::string, Bytes> others_;
  std::map<bool, int> states_;  // on the old base, on the new one
  uint64_t completed_ = UINT64_MAX;
};

TEST_P(RebaseCrash, TheOldBaseOrTheNewOne) {
  Prepare();
  if (HasFatalFailure()) return;
  auto catalog = OpenMemCatalog(host_);
  ASSERT_TRUE(catalog) << catalog.error().message;
  DiskPtr disk = (*catalog)->Find("vm");
  ASSERT_NE(disk, nullptr);
  host_->StartRecording();
  {
    jobs::EventLog events;
    jobs::JobManager jobs(**catalog, events, jobs::JobTypes(), {.threads = 2});
    verbs::Arguments arguments;
    arguments.Set("base", GetParam().base).Set("top", GetParam().top);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(guest_->RandomOperation(*disk, random_));
    const auto id =
        jobs.Start({.type = "rebase", .disk = disk, .arguments = arguments, .privileged = true});
    ASSERT_TRUE(id) << id.error().message;
    for (int i = 0; i < 8; ++i) ASSERT_TRUE(guest_->RandomOperation(*disk, random_));
    const std::optional<jobs::JobInfo> job = WaitForJobs(jobs);
    ASSERT_TRUE(job);
    ASSERT_FALSE(job->error) << *job->error;
    completed_ = host_->Mark("rebase completed");
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(guest_->RandomOperation(*disk, random_));
    jobs.Shutdown();
  }
  disk.reset();
  ASSERT_TRUE((*catalog)->Close());
  CrashEnumerator crash(host_->StopRecording(),
                        {.seed = random_.Next(), .max_states_per_point = 16});
  crash.ForEachState([&](const CrashState& state) {
    SCOPED_TRACE(state.Describe());
    CheckState(state);
    return !HasFatalFailure();
  });
  EXPECT_GT(states_[false], 0);
  EXPECT_GT(states_[true], 0);
  std::printf("[   INFO   ] %llu crash states\n", static_cast<unsigned long long>(crash.visited()));
}

const std::vector<std::string> kTwo = {"a.raw", "vm.qcow2"};
const std::vector<std::string> kThree = {"a.qcow2", "mid.qcow2", "vm.qcow2"};
const std::vector<std::string> kFourLayers = {"a.raw", "b.qcow2", "mid.qcow2", "vm.qcow2"};

INSTANTIATE_TEST_SUITE_P(Layers, RebaseCrash,
                         ::testing::Values(Case{"two", kTwo, "vm.qcow2", "copy.qcow2"},
                                           Case{"active", kThree, "vm.qcow2", "copy.qcow2"},
                                           Case{"active_onto_raw", kThree, "vm.qcow2", "flat.raw"},
                                           Case{"below", kThree, "mid.qcow2", "copy.qcow2"},
                                           Case{"below_of_four", kFourLayers, "mid.qcow2",
                                                "flat.raw"}),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace chainfs
