// SPDX-License-Identifier: Apache-2.0
//
// Jobs whose work copies nothing, for tests of the scheduler and the state machine. Nothing passes
// or fails by how fast it is: waits are for conditions.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "jobs/engine/cursor_source.h"
#include "jobs/engine/dirty_set.h"
#include "jobs/engine/job_run.h"

namespace chainfs::jobs {

using namespace std::chrono_literals;

inline constexpr uint64_t kUnit = 4096;

// What a piece of work went through, shared with the test because the run destroys its work.
struct Trace {
  Mutex mu;
  std::map<uint64_t, int> chunks GUARDED_BY(mu);  // offset -> times
  uint64_t covered GUARDED_BY(mu) = 0;
  std::vector<JobParameters> saved GUARDED_BY(mu);
  std::atomic<int> settled = 0;
  std::atomic<int> pivoted = 0;
  std::atomic<int> released = 0;
  std::atomic<int> pivots_recorded = 0;
  std::atomic<int> removed = 0;                          // the record
  std::atomic<int> undone = 0;                           // tries
  std::vector<std::string> undo_reasons GUARDED_BY(mu);  // as the record has them
  std::atomic<int> destroyed = 0;
  std::atomic<int> in_flight = 0;
  std::atomic<int> most_in_flight = 0;
  std::atomic<uint64_t> processed = 0;

  uint64_t covered_bytes() EXCLUDES(mu) {
    MutexLock lock(mu);
    return covered;
  }
};

struct Script {
  uint64_t length = 1 << 20;
  uint64_t chunk = 64 << 10;
  bool estimates = false;
  std::shared_ptr<DirtySet> dirty = {};  // in the place of a cursor; the job then gets ready
  std::function<ChunkResult(uint64_t offset, uint64_t length)> process =
      [](uint64_t, uint64_t bytes) -> ChunkResult { return bytes; };
  std::function<Status()> settle = [] { return Status(); };
  std::function<Status()> pivot = [] { return Status(); };
  std::function<Status(const std::function<bool()>& stop)> undo = {};  // the type then undoes
  std::optional<std::string> undoing = {};                             // by an earlier daemon
  std::function<bool()> users_wait = [] { return false; };
  std::function<std::optional<Error>()> end_waits = [] { return std::nullopt; };
  std::function<JobFacts()> facts = [] { return JobFacts(); };
  std::function<Status(const verbs::Arguments& arguments)> verb = {};  // complete and change
};

class FakeWork final : public ChunkWork {
 public:
  FakeWork(std::shared_ptr<Trace> trace, Script script)
      : trace_(std::move(trace)), script_(std::move(script)), source_(script_.length) {}
  ~FakeWork() override { ++trace_->destroyed; }

  WorkSource& source() override {
    return script_.dirty ? static_cast<WorkSource&>(*script_.dirty) : source_;
  }
  bool gets_ready() const override { return script_.dirty != nullptr; }
  uint64_t unit() const override { return kUnit; }
  uint64_t chunk_size() const override { return script_.chunk; }
  bool estimates() const override { return script_.estimates; }
  bool UsersWait() const override { return script_.users_wait(); }
  JobFacts Facts() const override { return script_.facts(); }
  std::optional<Error> EndMustWait() const override { return script_.end_waits(); }
  Status Complete(const verbs::Arguments& arguments) override {
    return script_.verb ? script_.verb(arguments) : ChunkWork::Complete(arguments);
  }
  Status Change(const verbs::Arguments& arguments) override {
    return script_.verb ? script_.verb(arguments) : ChunkWork::Change(arguments);
  }
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
  Status Undo(const std::function<bool()>& stop) override {
    EXPECT_EQ(trace_->in_flight, 0);
    ++trace_->undone;
    return script_.undo(stop);
  }
  void Release() override {
    EXPECT_EQ(trace_->in_flight, 0);
    ++trace_->released;
  }

 private:
  struct Inside {
    Trace& trace;
    ~Inside() { --trace.in_flight; }
  };

  const std::shared_ptr<Trace> trace_;
  const Script script_;
  CursorSource source_;
};

class FakeRecorder final : public JobRecorder {
 public:
  explicit FakeRecorder(std::shared_ptr<Trace> trace) : trace_(std::move(trace)) {}

  Status EnterPivot() override {
    EXPECT_EQ(trace_->pivoted, 0);
    ++trace_->pivots_recorded;
    return {};
  }
  Status EnterUndo(const std::string& reason) override {
    MutexLock lock(trace_->mu);
    trace_->undo_reasons.push_back(reason);
    return {};
  }
  void Save(const JobParameters& parameters) override {
    EXPECT_EQ(trace_->released, 0);
    MutexLock lock(trace_->mu);
    trace_->saved.push_back(parameters);
  }
  void Remove() override {
    EXPECT_EQ(trace_->released, 1);
    ++trace_->removed;
  }

 private:
  const std::shared_ptr<Trace> trace_;
};

inline void WaitFor(const std::function<bool()>& condition, const char* what) {
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
      WaitFor([&] { return status() == wanted; }, std::string(JobStatusName(wanted)).c_str());
    }
    // Concluded, and the run has let go of everything.
    void WaitEnd() const {
      run->WaitStopped();
      EXPECT_EQ(status(), JobStatus::kConcluded);
      EXPECT_EQ(trace->destroyed, 1);
      EXPECT_EQ(trace->released, 1);
      EXPECT_EQ(trace->removed, 1);
      EXPECT_EQ(trace->pivots_recorded, trace->pivoted);
    }
  };

  Job Make(Script script, OnError on_error = OnError::kReport, JobParameters parameters = {}) {
    Job job;
    job.trace = std::make_shared<Trace>();
    script.users_wait = [this] { return busy_.load(); };
    JobSettings settings;
    settings.id = "job-" + std::to_string(++made_);
    settings.type = "stream";
    settings.disk = "vm1";
    settings.on_error = on_error;
    settings.parameters = parameters;
    settings.undoes = script.undo != nullptr;
    settings.undo = script.undoing;
    JobRunHooks hooks;
    hooks.concluded = [this] { ++concluded_; };
    hooks.failed = [this](const auto&, const auto&, const Error& error) {
      ++failures_;
      if (hook_throws_) throw std::bad_alloc();
      last_failure_ = error.message;
    };
    job.run = std::make_shared<JobRun>(arena_, events_, std::move(settings),
                                       std::make_unique<FakeWork>(job.trace, std::move(script)),
                                       std::make_unique<FakeRecorder>(job.trace), std::move(hooks));
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
  std::atomic<int> failures_ = 0;
  bool hook_throws_ = false;
  std::string last_failure_;  // as the hook was told
  std::atomic<bool> busy_ = false;
  int made_ = 0;
  JobArena arena_{4};
};

using Words = std::vector<std::string>;

}  // namespace chainfs::jobs
