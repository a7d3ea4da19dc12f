// SPDX-License-Identifier: Apache-2.0
//
// The scheduler and the state machine, with work that copies nothing. Nothing here passes or fails
// by how fast it is: waits are for conditions.
#include "jobs/job_run.h"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <new>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <thread>

namespace chainfs {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kUnit = 4096;

// What a piece of work went through, shared with the test because the run destroys its work.
struct Trace {
  Mutex mu;
  std::map<uint64_t, int> chunks GUARDED_BY(mu);  // offset -> times
  uint64_t covered GUARDED_BY(mu) = 0;
  std::vector<JobParameters> saved GUARDED_BY(mu);
  std::atomic<int> settled = 0;
  std::atomic<int> pivoted = 0;
  std::atomic<int> released = 0;
  std::atomic<int> destroyed = 0;
  std::atomic<int> in_flight = 0;
  std::atomic<int> most_in_flight = 0;
  std::atomic<uint64_t> processed = 0;
};

struct Script {
  uint64_t length = 1 << 20;
  uint64_t chunk = 64 << 10;
  bool estimates = false;
  std::function<ChunkResult(uint64_t offset, uint64_t length)> process =
      [](uint64_t, uint64_t bytes) -> ChunkResult { return bytes; };
  std::function<Status()> settle = [] { return Status(); };
  std::function<Status()> pivot = [] { return Status(); };
};

class FakeWork final : public ChunkWork {
 public:
  FakeWork(std::shared_ptr<Trace> trace, Script script)
      : trace_(std::move(trace)), script_(std::move(script)) {}
  ~FakeWork() override { ++trace_->destroyed; }

  uint64_t length() const override { return script_.length; }
  uint64_t unit() const override { return kUnit; }
  uint64_t chunk_size() const override { return script_.chunk; }
  bool estimates() const override { return script_.estimates; }
  ChunkResult Process(uint64_t offset, uint64_t length) override {
    const int now = ++trace_->in_flight;
    int most = trace_->most_in_flight;
    while (now > most && !trace_->most_in_flight.compare_exchange_weak(most, now)) {
    }
    EXPECT_EQ(trace_->pivoted, 0);
    EXPECT_EQ(trace_->released, 0);
    EXPECT_EQ(offset % kUnit, 0u);
    EXPECT_LE(offset + length, script_.length);
    const Inside inside{*trace_};
    ChunkResult result = script_.process(offset, length);
    if (result) {
      MutexLock lock(trace_->mu);
      ++trace_->chunks[offset];
      trace_->covered += length;
    }
    trace_->processed += length;
    return result;
  }
  Status Settle() override {
    EXPECT_EQ(trace_->in_flight, 0);
    ++trace_->settled;
    return script_.settle();
  }
  Status Pivot() override {
    EXPECT_EQ(trace_->in_flight, 0);
    ++trace_->pivoted;
    return script_.pivot();
  }
  void Release() override {
    EXPECT_EQ(trace_->in_flight, 0);
    ++trace_->released;
  }
  void SaveParameters(const JobParameters& parameters) override {
    EXPECT_EQ(trace_->released, 0);
    MutexLock lock(trace_->mu);
    trace_->saved.push_back(parameters);
  }

 private:
  struct Inside {
    Trace& trace;
    ~Inside() { --trace.in_flight; }
  };

  const std::shared_ptr<Trace> trace_;
  const Script script_;
};

void WaitFor(const std::function<bool()>& condition, const char* what) {
  const auto guard = std::chrono::steady_clock::now() + 120s;
  while (!condition()) {
    ASSERT_LT(std::chrono::steady_clock::now(), guard) << "never: " << what;
    std::this_thread::sleep_for(1ms);
  }
}

class JobRunTest : public testing::Test {
 protected:
  struct Job {
    std::shared_ptr<JobRun> run;
    std::shared_ptr<Trace> trace;
    JobRun* operator->() const { return run.get(); }
    JobStatus status() const { return run->Info().status; }
    void WaitStatus(JobStatus wanted) const {
      WaitFor([&] { return status() == wanted; }, JobStatusName(wanted).data());
    }
    // Concluded, and the run has let go of everything.
    void WaitEnd() const {
      run->WaitStopped();
      EXPECT_EQ(status(), JobStatus::kConcluded);
      EXPECT_EQ(trace->destroyed, 1);
      EXPECT_EQ(trace->released, 1);
    }
  };

  Job Make(Script script, OnError on_error = OnError::kReport, JobParameters parameters = {}) {
    Job job;
    job.trace = std::make_shared<Trace>();
    JobSettings settings;
    settings.id = "job-" + std::to_string(++made_);
    settings.type = "stream";
    settings.disk = "vm1";
    settings.on_error = on_error;
    settings.parameters = parameters;
    JobRunHooks hooks;
    hooks.concluded = [this] { ++concluded_; };
    hooks.foreground_busy = [this](const std::string&) { return busy_.load(); };
    job.run = std::make_shared<JobRun>(arena_, events_, std::move(settings),
                                       std::make_unique<FakeWork>(job.trace, std::move(script)),
                                       std::move(hooks));
    job.run->AnnounceCreated();
    return job;
  }

  std::vector<nlohmann::json> Events() {
    uint64_t cursor = 1;
    bool too_small = false;
    std::istringstream in(events_.Read(&cursor, 16 << 20, &too_small));
    std::vector<nlohmann::json> events;
    for (std::string line; std::getline(in, line);) events.push_back(nlohmann::json::parse(line));
    return events;
  }
  // The names of the events of one job; of a change of status the status.
  std::vector<std::string> Story(const Job& job) {
    std::vector<std::string> story;
    for (const auto& event : Events()) {
      if (event.value("id", "") != job.run->id() || event["event"] == "JOB_PROGRESS") continue;
      EXPECT_EQ(event["disk"], "vm1");
      story.push_back(event["event"] == "JOB_STATUS_CHANGE" ? event["status"] : event["event"]);
    }
    return story;
  }
  static ErrorKind KindOf(const Status& status) {
    EXPECT_FALSE(status);
    return status ? ErrorKind::kIo : status.error().kind;
  }

  EventLog events_;
  std::atomic<int> concluded_ = 0;
  std::atomic<bool> busy_ = false;
  int made_ = 0;
  JobArena arena_{4};
};

using Words = std::vector<std::string>;

TEST_F(JobRunTest, ARunGoesThroughEveryStatusAndCoversEveryByteOnce) {
  const Job job = Make({.length = (1 << 20) + 512});
  EXPECT_EQ(job.status(), JobStatus::kCreated);
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED",
                               "concluded"}));
  const JobInfo info = job->Info();
  EXPECT_EQ(info.current_progress, (1u << 20) + 512);
  EXPECT_EQ(info.total_progress, (1u << 20) + 512);
  EXPECT_FALSE(info.error.has_value());
  EXPECT_TRUE(info.ended.has_value());
  EXPECT_EQ(job.trace->settled, 1);
  EXPECT_EQ(job.trace->pivoted, 1);
  MutexLock lock(job.trace->mu);
  EXPECT_EQ(job.trace->covered, (1u << 20) + 512);
  for (const auto& [offset, times] : job.trace->chunks) EXPECT_EQ(times, 1) << offset;
}

TEST_F(JobRunTest, WorkWithoutLengthCompletesAtOnce) {
  const Job job = Make({.length = 0});
  job->Start();
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
}

TEST_F(JobRunTest, TheCompletionEventHasTheFieldsOfQemu) {
  const Job job = Make({});
  job->Start();
  job.WaitEnd();
  for (const auto& event : Events()) {
    if (event["event"] != "BLOCK_JOB_COMPLETED") continue;
    EXPECT_EQ(event["type"], "stream");
    EXPECT_EQ(event["device"], "vm1");
    EXPECT_EQ(event["len"], 1 << 20);
    EXPECT_EQ(event["offset"], 1 << 20);
    EXPECT_EQ(event["speed"], 0);
    EXPECT_FALSE(event.contains("error"));
  }
}

TEST_F(JobRunTest, SeveralChunksAreInFlight) {
  std::atomic<int> inside = 0;
  const Job job = Make({.process = [&](uint64_t, uint64_t length) -> ChunkResult {
    ++inside;
    // The first two wait for each other.
    WaitFor([&] { return inside >= 2; }, "a second chunk in flight");
    return length;
  }});
  job->Start();
  job.WaitEnd();
  EXPECT_GE(job.trace->most_in_flight, 2);
  EXPECT_LE(job.trace->most_in_flight, arena_.threads());
}

TEST_F(JobRunTest, ABusyGuestLeavesOneChunkInFlight) {
  busy_ = true;
  const Job job = Make({.process = [](uint64_t, uint64_t length) -> ChunkResult {
    std::this_thread::sleep_for(1ms);
    return length;
  }});
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job.trace->most_in_flight, 1);
}

TEST_F(JobRunTest, ProgressNeverGoesBackNorPastTheTotal) {
  const Job job = Make({.length = 8 << 20, .process = [](uint64_t offset, uint64_t length) {
                          if (offset % 3 == 0) std::this_thread::sleep_for(1ms);
                          return ChunkResult(length / 2);
                        }});
  job->Start();
  uint64_t last = 0;
  while (job.status() != JobStatus::kConcluded) {
    const JobInfo info = job->Info();
    EXPECT_GE(info.current_progress, last);
    EXPECT_LE(info.current_progress, info.total_progress);
    last = info.current_progress;
  }
  job.WaitEnd();
  EXPECT_EQ(job->Info().current_progress, 8u << 20);
}

TEST_F(JobRunTest, PauseHoldsAndResumeGoesOn) {
  const Job job = Make({.length = 1 << 30, .process = [](uint64_t, uint64_t length) {
                          std::this_thread::sleep_for(200us);
                          return ChunkResult(length);
                        }});
  job->Start();
  WaitFor([&] { return job.trace->processed > 0; }, "progress");
  ASSERT_TRUE(job->Pause());
  const auto asked = std::chrono::steady_clock::now();
  job.WaitStatus(JobStatus::kPaused);
  RecordProperty("pause_us", static_cast<int>((std::chrono::steady_clock::now() - asked) / 1us));
  const uint64_t before = job.trace->processed;
  EXPECT_EQ(job.trace->in_flight, 0);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(job.trace->processed, before);
  EXPECT_EQ(KindOf(job->Pause()), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(job->Resume());
  EXPECT_EQ(KindOf(job->Resume()), ErrorKind::kInvalidArgument);
  WaitFor([&] { return job.trace->processed > before; }, "progress after resume");
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  WaitFor(
      [&] {
        MutexLock lock(job.trace->mu);
        return !job.trace->saved.empty();
      },
      "parameters saved");
}

TEST_F(JobRunTest, CancelWhilePausedGoesThroughRunning) {
  const Job job = Make({.length = 1 << 30});
  ASSERT_TRUE(job->Pause());
  job->Start();
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "paused", "running", "aborting",
                               "BLOCK_JOB_CANCELLED", "concluded"}));
  EXPECT_TRUE(job->Info().cancelled);
  EXPECT_EQ(job->Info().error, "cancelled");
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRunTest, CancelBeforeTheStart) {
  const Job job = Make({});
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  job->Start();
  EXPECT_EQ(Story(job), (Words{"created", "aborting", "BLOCK_JOB_CANCELLED", "concluded"}));
  EXPECT_EQ(job.trace->processed, 0u);
}

TEST_F(JobRunTest, CancelDuringTheLastFlushStopsThePivot) {
  std::atomic<bool> settling = false;
  std::atomic<bool> go_on = false;
  const Job job = Make({.settle = [&]() -> Status {
    settling = true;
    WaitFor([&] { return go_on.load(); }, "the test to go on");
    return {};
  }});
  job->Start();
  WaitFor([&] { return settling.load(); }, "the last flush");
  EXPECT_EQ(job.status(), JobStatus::kWaiting);
  EXPECT_EQ(KindOf(job->Pause()), ErrorKind::kInvalidArgument);
  ASSERT_TRUE(job->Cancel());
  go_on = true;
  job.WaitEnd();
  EXPECT_EQ(job.trace->pivoted, 0);
  EXPECT_TRUE(job->Info().cancelled);
}

TEST_F(JobRunTest, CancelDuringThePivotIsRefused) {
  std::atomic<bool> pivoting = false;
  std::atomic<bool> go_on = false;
  const Job job = Make({.pivot = [&]() -> Status {
    pivoting = true;
    WaitFor([&] { return go_on.load(); }, "the test to go on");
    return {};
  }});
  job->Start();
  WaitFor([&] { return pivoting.load(); }, "the pivot");
  EXPECT_EQ(job.status(), JobStatus::kPending);
  EXPECT_EQ(KindOf(job->Cancel()), ErrorKind::kInvalidArgument);
  go_on = true;
  job.WaitEnd();
  EXPECT_FALSE(job->Info().cancelled);
  EXPECT_FALSE(job->Info().error.has_value());
}

TEST_F(JobRunTest, AVerbInTheWrongStateIsRefusedInQemusWords) {
  const Job job = Make({});
  EXPECT_EQ(job->CheckDismiss().error().message,
            "Job 'job-1' in state 'created' cannot accept command verb 'dismiss'");
  job->Start();
  job.WaitEnd();
  EXPECT_TRUE(job->CheckDismiss());
  for (const Status& status : {job->Cancel(), job->Pause(), job->Resume(), job->SetSpeed(1)}) {
    EXPECT_EQ(KindOf(status), ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(job->SetSpeed(1).error().message,
            "Job 'job-1' in state 'concluded' cannot accept command verb 'set-speed'");
}

// ---- Errors.

Script FailingAt(uint64_t bad, std::shared_ptr<std::atomic<int>> failures, ErrorKind kind,
                 bool writing) {
  return {.process = [=](uint64_t offset, uint64_t length) -> ChunkResult {
    if (offset <= bad && bad < offset + length && --*failures >= 0) {
      return std::unexpected(ChunkFailure{{kind, 0, "bad sector"}, writing});
    }
    return length;
  }};
}

TEST_F(JobRunTest, OnErrorReportEndsTheJob) {
  const Job job =
      Make(FailingAt(256 << 10, std::make_shared<std::atomic<int>>(1), ErrorKind::kIo, false));
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(Story(job), (Words{"created", "running", "BLOCK_JOB_ERROR", "aborting",
                               "BLOCK_JOB_COMPLETED", "concluded"}));
  EXPECT_EQ(job->Info().error, "bad sector");
  EXPECT_FALSE(job->Info().cancelled);
  EXPECT_EQ(job.trace->pivoted, 0);
  for (const auto& event : Events()) {
    if (event["event"] == "BLOCK_JOB_ERROR") {
      EXPECT_EQ(event["device"], "vm1");
      EXPECT_EQ(event["operation"], "read");
      EXPECT_EQ(event["action"], "report");
    }
    if (event["event"] == "BLOCK_JOB_COMPLETED") {
      EXPECT_EQ(event["error"], "bad sector");
      EXPECT_LT(event["offset"], event["len"]);
    }
  }
}

TEST_F(JobRunTest, OnErrorIgnoreGoesOnAndEndsAsAFailure) {
  const Job job =
      Make(FailingAt(256 << 10, std::make_shared<std::atomic<int>>(1), ErrorKind::kIo, true),
           OnError::kIgnore);
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job->Info().error, "bad sector");
  EXPECT_EQ(job->Info().current_progress, 1u << 20);
  EXPECT_EQ(job.trace->pivoted, 0);
}

TEST_F(JobRunTest, OnErrorStopPausesAndDoesTheChunkAgain) {
  const Job job =
      Make(FailingAt(256 << 10, std::make_shared<std::atomic<int>>(2), ErrorKind::kIo, true),
           OnError::kStop);
  job->Start();
  for (int i = 0; i < 2; ++i) {
    job.WaitStatus(JobStatus::kPaused);
    EXPECT_FALSE(job->Info().error.has_value());
    ASSERT_TRUE(job->Resume());
  }
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
  EXPECT_EQ(job.trace->pivoted, 1);
  MutexLock lock(job.trace->mu);
  EXPECT_EQ(job.trace->covered, 1u << 20);
}

TEST_F(JobRunTest, OnErrorEnospcPausesOnlyForSpace) {
  const Job full =
      Make(FailingAt(0, std::make_shared<std::atomic<int>>(1), ErrorKind::kNoSpace, true),
           OnError::kEnospc);
  full->Start();
  full.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(full->Resume());
  full.WaitEnd();
  EXPECT_FALSE(full->Info().error.has_value());
  const Job broken = Make(FailingAt(0, std::make_shared<std::atomic<int>>(1), ErrorKind::kIo, true),
                          OnError::kEnospc);
  broken->Start();
  broken.WaitEnd();
  EXPECT_EQ(broken->Info().error, "bad sector");
}

TEST_F(JobRunTest, FailuresOfTheEndFailTheJob) {
  const auto fail = []() -> Status { return Fail(ErrorKind::kIo, "no luck"); };
  const Job unsettled = Make({.settle = fail});
  unsettled->Start();
  unsettled.WaitEnd();
  EXPECT_EQ(unsettled->Info().error, "no luck");
  EXPECT_EQ(unsettled.trace->pivoted, 0);
  const Job stuck = Make({.pivot = fail});
  stuck->Start();
  stuck.WaitEnd();
  EXPECT_EQ(stuck->Info().error, "no luck");
  EXPECT_EQ(Story(stuck), (Words{"created", "running", "waiting", "pending", "aborting",
                                 "BLOCK_JOB_COMPLETED", "concluded"}));
}

TEST_F(JobRunTest, NothingThatIsThrownEscapes) {
  const Job chunk =
      Make({.process = [](uint64_t, uint64_t) -> ChunkResult { throw std::bad_alloc(); }});
  chunk->Start();
  chunk.WaitEnd();
  EXPECT_NE(chunk->Info().error->find("out of memory"), std::string::npos);
  const Job pivot = Make({.pivot = []() -> Status { throw std::runtime_error("surprise"); }});
  pivot->Start();
  pivot.WaitEnd();
  EXPECT_NE(pivot->Info().error->find("surprise"), std::string::npos);
}

// ---- Speed.

TEST_F(JobRunTest, ASpeedLimitIsKeptOnAverage) {
  constexpr uint64_t kSpeed = 4 << 20;
  const Job job = Make({.length = 1 << 20}, OnError::kReport, {.speed = kSpeed});
  const auto began = std::chrono::steady_clock::now();
  job->Start();
  job.WaitEnd();
  // All but the last chunk and the first slice have waited.
  EXPECT_GE(std::chrono::steady_clock::now() - began, 100ms);
  EXPECT_EQ(job->Info().speed, kSpeed);
}

TEST_F(JobRunTest, SkippedBytesAreNotCharged) {
  const Job job = Make({.length = 64ull << 30,
                        .chunk = 1 << 30,
                        .process = [](uint64_t, uint64_t) { return ChunkResult(0); }},
                       OnError::kReport, {.speed = 1 << 30});
  job->Start();
  job.WaitEnd();
}

TEST_F(JobRunTest, AJobThatWaitsForItsLimitObeysAtOnce) {
  const Job job = Make({.length = 1 << 30}, OnError::kReport, {.speed = 1});
  job->Start();
  WaitFor([&] { return job.trace->processed > 0; }, "the first chunk");
  ASSERT_TRUE(job->Pause());
  job.WaitStatus(JobStatus::kPaused);
  ASSERT_TRUE(job->Resume());
  ASSERT_TRUE(job->SetSpeed(0));
  job.WaitEnd();
  EXPECT_FALSE(job->Info().error.has_value());
}

TEST_F(JobRunTest, CancelOfAJobThatWaitsForItsLimit) {
  const Job job = Make({.length = 1 << 30}, OnError::kReport, {.speed = 1});
  job->Start();
  WaitFor([&] { return job.trace->processed > 0; }, "the first chunk");
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
}

// ---- Several jobs, stopping.

TEST_F(JobRunTest, ManyJobsShareTheArena) {
  std::vector<Job> jobs;
  for (int i = 0; i < 12; ++i) jobs.push_back(Make({.length = 4 << 20}));
  for (const Job& job : jobs) job->Start();
  for (const Job& job : jobs) job.WaitEnd();
  WaitFor([&] { return concluded_ == 12; }, "every job tells its owner");
}

TEST_F(JobRunTest, ALongJobDoesNotHoldUpAnother) {
  const Job endless = Make(
      {.length = UINT64_MAX / 2, .process = [](uint64_t, uint64_t) { return ChunkResult(0); }});
  endless->Start();
  WaitFor([&] { return endless.trace->processed > 0; }, "the endless job");
  const Job brief = Make({});
  brief->Start();
  brief.WaitEnd();
  ASSERT_TRUE(endless->Cancel());
  endless.WaitEnd();
}

TEST_F(JobRunTest, AnEstimateOnlyCounts) {
  const Job job = Make({.estimates = true, .process = [](uint64_t, uint64_t length) {
                          return ChunkResult(length / 4);
                        }});
  job->Start();
  job.WaitEnd();
  EXPECT_EQ(job->Info().current_progress, 0u);
  EXPECT_EQ(job->Info().total_progress, (1u << 20) / 4);
}

TEST_F(JobRunTest, RunToEndHereConcludesBeforeItReturns) {
  const Job job = Make({.length = 0});
  job->RunToEndHere();
  EXPECT_EQ(job.status(), JobStatus::kConcluded);
  EXPECT_EQ(Story(job), (Words{"created", "running", "waiting", "pending", "BLOCK_JOB_COMPLETED",
                               "concluded"}));
}

TEST_F(JobRunTest, StopSettlesAndReleasesNothing) {
  const Job running = Make({.length = UINT64_MAX / 2});
  const Job paused = Make({.length = 1 << 30});
  const Job queued = Make({});
  const Job limited = Make({.length = 1 << 30}, OnError::kReport, {.speed = 1});
  running->Start();
  limited->Start();
  ASSERT_TRUE(paused->Pause());
  paused->Start();
  paused.WaitStatus(JobStatus::kPaused);
  WaitFor([&] { return running.trace->processed > 0 && limited.trace->processed > 0; }, "progress");
  for (const Job* job : {&running, &paused, &queued, &limited}) (*job)->Stop();
  for (const Job* job : {&running, &paused, &queued, &limited}) {
    (*job)->WaitStopped();
    EXPECT_EQ(job->trace->released, 0);
    EXPECT_EQ(job->trace->pivoted, 0);
    EXPECT_EQ(job->trace->destroyed, 1);
    EXPECT_EQ(job->trace->settled, job->trace->processed > 0 ? 1 : 0);
    const Words story = Story(*job);
    EXPECT_EQ(std::ranges::find(story, "concluded"), story.end());
    EXPECT_EQ(std::ranges::find(story, "aborting"), story.end());
  }
}

TEST_F(JobRunTest, VerbsFromManyThreadsLeaveASoundStory) {
  const Job job = Make({.length = UINT64_MAX / 2});
  job->Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const bool ok = (i + t) % 2 == 0 ? job->Pause().has_value() : job->Resume().has_value();
        if (i % 50 == t && ok) {
          EXPECT_TRUE(job->SetSpeed(static_cast<uint64_t>(i) << 30));
        }
        (void)job->Info();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(job->Cancel());
  job.WaitEnd();
  const Words story = Story(job);
  for (size_t i = 1; i + 3 < story.size(); ++i) {
    EXPECT_EQ(story[i], i % 2 == 1 ? "running" : "paused") << i;
  }
}

}  // namespace
}  // namespace chainfs
