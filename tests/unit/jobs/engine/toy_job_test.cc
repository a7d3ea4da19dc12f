// SPDX-License-Identifier: Apache-2.0
//
// A type of job that is one row and what it does: `polish` goes over what guests mark, is ready
// when nothing is marked, and ends when it is completed. The engine learns of it by its row alone;
// that it can be started, refused, recorded, taken up, paused and completed is the engine's.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "blocklayer/formats/qcow2/create.h"
#include "jobs/engine/dirty_set.h"
#include "jobs/engine/job_manager.h"
#include "tests/support/mem_host.h"

namespace chainfs::jobs {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kSize = 1 << 20;
constexpr uint64_t kRegion = 4096;

// ---- The type: what a folder of its own would hold.

// What the work of the test under way did.
struct Polished {
  std::shared_ptr<DirtySet> dirty = std::make_shared<DirtySet>(kSize, kRegion);
  std::atomic<uint64_t> bytes = 0;
  std::atomic<int> planned = 0;
  std::atomic<int> pivoted = 0;
  std::string cloth;     // as it was planned last
  std::string taken_up;  // the same
  std::string id;        // of the work that began last
  std::atomic<int> begun = 0;
  std::atomic<int> released = 0;
  std::atomic<int> undone = 0;
  Status begins = {};
  std::shared_ptr<int> layers = std::make_shared<int>();  // stands for what a plan holds
};
Polished* polished = nullptr;

class PolishWork final : public ChunkWork {
 public:
  PolishWork(bool counts, std::string id) : counts_(counts), id_(std::move(id)) {
    polished->dirty->Mark(0, kSize);
  }
  WorkSource& source() override { return *dirty_; }
  uint64_t unit() const override { return kRegion; }
  uint64_t chunk_size() const override { return 16 * kRegion; }
  bool estimates() const override { return counts_; }
  bool gets_ready() const override { return !counts_; }
  ChunkResult Process(uint64_t /*offset*/, uint64_t length) override {
    if (!counts_) polished->bytes += length;
    return length;
  }
  Status Begin() override {
    ++polished->begun;
    polished->id = id_;
    return polished->begins;
  }
  Status Undo(const std::function<bool()>& /*stop*/) override {
    ++polished->undone;
    return {};
  }
  void Release() override { ++polished->released; }
  Status Pivot() override {
    ++polished->pivoted;
    return {};
  }

 private:
  const bool counts_;
  const std::string id_;
  const std::shared_ptr<DirtySet> dirty_ = polished->dirty;
};

Result<JobPlan> PlanPolish(Catalog& /*catalog*/, const JobCommand& command) {
  ++polished->planned;
  polished->taken_up = command.taken_up;
  polished->cloth = command.arguments.Text("cloth").value_or("soft");
  JobPlan plan{
      .claims = {},
      .command = {},
      .warning = {},
      .other_disks = {},
      .work = [held = polished->layers](
                  const std::string& id) { return std::make_unique<PolishWork>(false, id); },
      .estimate = [held = polished->layers] { return std::make_unique<PolishWork>(true, ""); }};
  plan.claims.fills = {command.disk->chain()->active};
  plan.command.Set("cloth", polished->cloth);
  return plan;
}

constexpr std::array kPolishKeys = {
    verbs::Key{"cloth", verbs::KeyType::kText, "Cloth to polish with", "soft", {}, false},
    verbs::Key{"speed", verbs::KeyType::kRate, "Bytes per second", "no limit", {}, false},
};

// ---- The row.

constexpr std::array kTypes = {JobType{"polish", kPolishKeys, &PlanPolish}};
constexpr std::array kUndoingTypes = {JobType{"polish", kPolishKeys, &PlanPolish, true}};

class ToyJobTest : public testing::Test {
 protected:
  ToyJobTest() {
    polished = &polished_;
    EXPECT_TRUE(CreateQcow2(*host_->OpenRoot(), "vm.qcow2", {.virtual_size = kSize}));
    Open(kTypes);
  }
  ~ToyJobTest() override {
    Close();
    polished = nullptr;
  }
  void Open(std::span<const JobType> types) {
    CatalogOptions options;
    options.open_directory = [host = host_](const std::string& /*path*/) {
      return Result<std::unique_ptr<Directory>>(host->OpenRoot());
    };
    auto opened = Catalog::Open({{.path = "/mem", .name = {}, .format = {}}}, options);
    ASSERT_TRUE(opened) << opened.error().message;
    catalog_ = *std::move(opened);
    jobs_ = std::make_unique<JobManager>(*catalog_, events_, types,
                                         JobManagerOptions{.threads = 2, .failed = {}});
  }
  void Close() {
    if (jobs_ != nullptr) jobs_->Shutdown();
    jobs_.reset();
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
    catalog_.reset();
  }
  Result<std::string> Start(verbs::Arguments arguments) {
    return jobs_->Start({.type = "polish",
                         .disk = catalog_->Find("vm"),
                         .arguments = std::move(arguments),
                         .privileged = false});
  }
  JobInfo Wait(const std::string& id, JobStatus status) {
    const auto guard = std::chrono::steady_clock::now() + 120s;
    for (;;) {
      const auto job = jobs_->Find("vm", id);
      if (job && job->status == status) return *job;
      if (std::chrono::steady_clock::now() > guard) {
        ADD_FAILURE() << id << " never " << JobStatusName(status);
        return {};
      }
      std::this_thread::sleep_for(1ms);
    }
  }
  std::string Record() {
    const auto records = catalog_->records().ReadAll("job-");
    return records && records->size() == 1 ? records->front().contents : "";
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create();
  Polished polished_;
  EventLog events_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<JobManager> jobs_;
};

TEST_F(ToyJobTest, IsReadyUntilItIsCompleted) {
  const auto id = Start({});
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_EQ(*id, "polish-1");
  EXPECT_EQ(Wait(*id, JobStatus::kReady).type, "polish");
  EXPECT_EQ(polished_.bytes, kSize);
  polished_.dirty->Mark(3 * kRegion, 1);
  const auto guard = std::chrono::steady_clock::now() + 120s;
  while (polished_.bytes < kSize + kRegion) {
    ASSERT_LT(std::chrono::steady_clock::now(), guard);
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(polished_.pivoted, 0);
  ASSERT_TRUE(jobs_->Complete(catalog_->Find("vm"), *id, {}));
  EXPECT_FALSE(Wait(*id, JobStatus::kConcluded).error.has_value());
  EXPECT_EQ(polished_.pivoted, 1);
  EXPECT_EQ(Record(), "");
}

TEST_F(ToyJobTest, IsTakenUpByPlanningItsCommandAgain) {
  ASSERT_TRUE(Start(verbs::Arguments().Set("id", "p").Set("cloth", "a,b\n")));
  Wait("p", JobStatus::kReady);
  ASSERT_TRUE(jobs_->Pause(catalog_->Find("vm"), "p"));
  Wait("p", JobStatus::kStandby);
  EXPECT_NE(Record().find("\"polish\""), std::string::npos) << Record();
  Close();
  polished_.cloth.clear();
  polished_.planned = 0;
  Open(kTypes);
  jobs_->ResumeRecorded();
  EXPECT_GT(polished_.planned, 0);
  EXPECT_EQ(polished_.cloth, "a,b\n");
  Wait("p", JobStatus::kPaused);
  ASSERT_TRUE(jobs_->Resume(catalog_->Find("vm"), "p"));
  Wait("p", JobStatus::kReady);
  ASSERT_TRUE(jobs_->Complete(catalog_->Find("vm"), "p", {}));
  Wait("p", JobStatus::kConcluded);
}

TEST_F(ToyJobTest, BeginsBeforeTheCommandReturnsAndAgainWhenItIsTakenUp) {
  ASSERT_TRUE(Start(verbs::Arguments().Set("id", "p")));
  EXPECT_EQ(polished_.begun, 1);
  EXPECT_EQ(polished_.id, "p");
  EXPECT_EQ(polished_.taken_up, "");
  Wait("p", JobStatus::kReady);
  Close();
  Open(kTypes);
  polished_.begins = Fail(ErrorKind::kBusy, "the cloth is in use");
  jobs_->ResumeRecorded();
  EXPECT_EQ(polished_.begun, 2);
  EXPECT_EQ(polished_.released, 1);
  EXPECT_EQ(polished_.taken_up, "p");
  EXPECT_EQ(Wait("p", JobStatus::kWaiting).error, "waiting to be taken up: the cloth is in use");
  EXPECT_NE(Record(), "");
  polished_.begins = {};
  jobs_->RetryRecorded();
  Wait("p", JobStatus::kReady);
  EXPECT_EQ(polished_.begun, 3);
}

// The record of work that has begun must not just go.
TEST_F(ToyJobTest, OneThatIsCancelledWhileItWaitsIsUndoneOnceItCanBe) {
  Close();
  Open(kUndoingTypes);
  ASSERT_TRUE(Start(verbs::Arguments().Set("id", "p")));
  Wait("p", JobStatus::kReady);
  Close();
  Open(kUndoingTypes);
  polished_.begins = Fail(ErrorKind::kBusy, "the cloth is in use");
  jobs_->ResumeRecorded();
  Wait("p", JobStatus::kWaiting);
  ASSERT_TRUE(jobs_->Cancel(catalog_->Find("vm"), "p"));
  EXPECT_NE(Record().find("\"undo\""), std::string::npos) << Record();
  Close();
  Open(kUndoingTypes);
  polished_.begins = {};
  jobs_->ResumeRecorded();
  EXPECT_TRUE(Wait("p", JobStatus::kConcluded).cancelled);
  EXPECT_EQ(polished_.undone, 1);
  EXPECT_EQ(Record(), "");
}

TEST_F(ToyJobTest, OneThatWaitsCanBeForgotten) {
  Close();
  Open(kUndoingTypes);
  ASSERT_TRUE(Start(verbs::Arguments().Set("id", "p")));
  Wait("p", JobStatus::kReady);
  Close();
  Open(kUndoingTypes);
  polished_.begins = Fail(ErrorKind::kBusy, "the cloth is in use");
  jobs_->ResumeRecorded();
  Wait("p", JobStatus::kWaiting);
  ASSERT_TRUE(jobs_->Dismiss(catalog_->Find("vm"), "p"));
  EXPECT_EQ(Record(), "");
  EXPECT_EQ(polished_.undone, 0);
}

TEST_F(ToyJobTest, OneThatCannotBeginLeavesNothing) {
  polished_.begins = Fail(ErrorKind::kBusy, "the cloth is in use");
  const auto id = Start({});
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().message, "the cloth is in use");
  EXPECT_EQ(polished_.released, 1);
  EXPECT_EQ(Record(), "");
  EXPECT_TRUE(jobs_->Jobs("vm").empty());
  polished_.begins = {};
  EXPECT_TRUE(Start({}));
}

// From then on it may end at any moment, and whoever waits for that finds its layers free.
TEST_F(ToyJobTest, ItsPlanHoldsNothingOnceItIsAnnounced) {
  std::atomic<long> most = 0;
  std::atomic<int> told = 0;
  const uint64_t number = events_.AddNewsCallback([&] {
    most = std::max(most.load(), polished_.layers.use_count());
    ++told;
  });
  ASSERT_TRUE(Start(verbs::Arguments().Set("dry-run", "yes").Set("id", "d")));
  // Its end is not to be told while the next one is planned.
  Wait("d", JobStatus::kConcluded);
  ASSERT_TRUE(Start(verbs::Arguments().Set("id", "p")));
  Wait("p", JobStatus::kReady);
  Close();
  Open(kTypes);
  jobs_->ResumeRecorded();
  Wait("p", JobStatus::kReady);
  Close();
  events_.RemoveNewsCallback(number);
  EXPECT_GT(told, 0);
  EXPECT_EQ(most, 1);
}

TEST_F(ToyJobTest, ADaemonWithoutItsRowLetsTheRecordBe) {
  ASSERT_TRUE(Start(verbs::Arguments().Set("id", "p")));
  Wait("p", JobStatus::kReady);
  Close();
  Open({});
  jobs_->ResumeRecorded();
  const auto job = jobs_->Find("vm", "p");
  ASSERT_TRUE(job.has_value());
  EXPECT_EQ(job->status, JobStatus::kWaiting);
  EXPECT_EQ(job->error,
            "waiting to be taken up: jobs of type 'polish' are not known to this chainfs");
  EXPECT_NE(Record(), "");
  EXPECT_EQ(Start({}).error().kind, ErrorKind::kUnsupported);
}

TEST_F(ToyJobTest, ItsClaimsKeepAnotherAway) {
  const auto id = Start({});
  ASSERT_TRUE(id);
  const auto second = Start({});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kBusy);
  EXPECT_NE(second.error().message.find("already uses a layer that this polish would"),
            std::string::npos);
  ASSERT_TRUE(jobs_->Cancel(catalog_->Find("vm"), *id));
  Wait(*id, JobStatus::kConcluded);
  EXPECT_TRUE(Start({}));
}

TEST_F(ToyJobTest, ItsDryRunOnlyCounts) {
  const auto id = Start(verbs::Arguments().Set("dry-run", "yes"));
  ASSERT_TRUE(id);
  EXPECT_EQ(Wait(*id, JobStatus::kConcluded).total_progress, kSize);
  EXPECT_EQ(polished_.bytes, 0u);
  EXPECT_EQ(Record(), "");
}

}  // namespace
}  // namespace chainfs::jobs
