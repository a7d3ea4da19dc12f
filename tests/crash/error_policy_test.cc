// SPDX-License-Identifier: Apache-2.0
//
// What every kind of job makes of an error in the middle of its copying, on either side, by each of
// the policies of on-error=. Whatever it makes of it, the disk shows what it showed, and the same
// command goes through once the cause is gone.
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "ctl/verbs/verb_table.h"
#include "tests/crash/crash_chain.h"

namespace chainfs {
namespace {

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kSize = 64 * kCluster;

struct Kind {
  const char* name;
  const char* type;
  const char* keys;    // %: a name of its own for each job
  const char* source;  // the file that is read
  const char* target;  // the file that is written
};

std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

class ErrorPolicy : public testing::TestWithParam<Kind> {
 protected:
  // base <- mid <- vm. Each has something that it alone shows, to the end of the disk.
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    const auto root = host_->OpenRoot();
    const char* below = "";
    for (const char* const name : {"base.qcow2", "mid.qcow2", "vm.qcow2"}) {
      Qcow2CreateOptions options{.virtual_size = kSize, .cluster_bits = 12};
      if (*below != '\0') options.backing = BackingReference{.name = below, .format = "qcow2"};
      ASSERT_TRUE(CreateQcow2(*root, name, options));
      FillSomeOf(name);
      below = name;
    }
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog);
    catalog_ = *std::move(catalog);
    jobs_ = std::make_unique<jobs::JobManager>(*catalog_, events_, jobs::JobTypes(),
                                               jobs::JobManagerOptions{.threads = 2, .failed = {}});
    disk_ = catalog_->Find("vm");
    ASSERT_NE(disk_, nullptr);
    before_ = ReadWholeDisk(*disk_).value();
  }
  ~ErrorPolicy() override {
    host_->ClearFaults();
    if (jobs_) jobs_->Shutdown();
    jobs_.reset();
    disk_.reset();
    if (catalog_) {
      EXPECT_TRUE(catalog_->Close());
    }
  }

  // Every third cluster, from the first for base, from the second for mid, from the third for vm.
  void FillSomeOf(const std::string& name) {
    auto catalog = OpenMemCatalog(host_);
    ASSERT_TRUE(catalog);
    const DiskPtr disk = (*catalog)->Find(StemOfLayer(name));
    ASSERT_NE(disk, nullptr);
    const uint64_t first = name == "base.qcow2" ? 0 : name == "mid.qcow2" ? 1 : 2;
    for (uint64_t at = first * kCluster; at < kSize; at += 3 * kCluster) {
      const Bytes data(kCluster, static_cast<std::byte>(at / kCluster + 1));
      ASSERT_TRUE(disk->Write(GuestOffset(at), data));
    }
    ASSERT_TRUE((*catalog)->Close());
  }

  // It stands still after its first chunk, so that what fails then is in the middle.
  std::string StartSlowly(const std::string& on_error) {
    std::string keys = GetParam().keys;
    copy_ = "copy" + std::to_string(++started_);
    if (const size_t at = keys.find('%'); at != std::string::npos) keys.replace(at, 1, copy_);
    const auto arguments =
        verbs::Arguments::Parse(keys + ",speed=1,on-error=" + on_error,
                                verbs::FindVerb(verbs::Verbs(), GetParam().type)->keys);
    EXPECT_TRUE(arguments);
    const auto id = jobs_->Start(
        {.type = GetParam().type, .disk = disk_, .arguments = *arguments, .privileged = true});
    EXPECT_TRUE(id) << id.error().message;
    if (!id) return "";
    Wait(*id, [](const jobs::JobInfo& job) { return job.copied > 0; });
    return *id;
  }
  jobs::JobInfo Wait(const std::string& id,
                     const std::function<bool(const jobs::JobInfo& job)>& condition) {
    const auto guard = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    for (;;) {
      const auto job = jobs_->Find("vm", id);
      if (job && condition(*job)) return *job;
      if (std::chrono::steady_clock::now() > guard) {
        ADD_FAILURE() << "in vain: " << (job ? jobs::JobToJson(*job) : "there is no " + id);
        return {};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  jobs::JobInfo WaitEnd(const std::string& id) {
    return Wait(id, [](const auto& job) { return job.status == jobs::JobStatus::kConcluded; });
  }
  size_t Break(bool writing, int error, bool forever) {
    std::string name = writing ? GetParam().target : GetParam().source;
    if (const size_t at = name.find('%'); at != std::string::npos) name.replace(at, 1, copy_);
    return host_->AddFault({.matches =
                                [name, writing](const HostCall& call) {
                                  const HostOp op = writing ? HostOp::kWrite : HostOp::kRead;
                                  return call.op == op && call.name.starts_with(name);
                                },
                            .forever = forever,
                            .error = error});
  }
  void GoOn(const std::string& id) { ASSERT_TRUE(jobs_->SetSpeed(disk_, id, 0)); }

  void ForgetEvents() {
    bool too_small = false;
    (void)events_.Read(&cursor_, 16 << 20, &too_small);
  }
  // The first of them names the side and the action. How many there are.
  int ExpectTold(const std::string& operation, const std::string& action) {
    bool too_small = false;
    int told = 0;
    std::istringstream in(events_.Read(&cursor_, 16 << 20, &too_small));
    for (std::string line; std::getline(in, line);) {
      const auto event = nlohmann::json::parse(line);
      if (event["event"] != "BLOCK_JOB_ERROR" || told++ > 0) continue;
      EXPECT_EQ(event["operation"], operation) << line;
      EXPECT_EQ(event["action"], action) << line;
    }
    EXPECT_GT(told, 0) << "nobody was told";
    return told;
  }
  void ExpectSame() {
    const auto now = ReadWholeDisk(*disk_);
    ASSERT_TRUE(now) << now.error().message;
    EXPECT_EQ(Difference(before_, *now), "");
    EXPECT_FALSE(disk_->read_only()) << disk_->ReadOnlyReason();
  }
  void ExpectAllAsBefore() {
    ExpectSame();
    EXPECT_EQ(disk_->chain()->depth(), 3u);
    EXPECT_TRUE(catalog_->records().ReadAll("job-").value().empty());
    EXPECT_FALSE(host_->Exists(copy_ + ".qcow2"));
  }
  void ExpectGoesThrough() {
    host_->ClearFaults();
    const std::string id = StartSlowly("report");
    GoOn(id);
    ExpectDone(id);
  }
  void ExpectDone(const std::string& id) {
    const jobs::JobInfo job = WaitEnd(id);
    EXPECT_FALSE(job.error) << *job.error;
    ExpectSame();
    if (std::string(GetParam().keys).find('%') == std::string::npos) {
      EXPECT_LT(disk_->chain()->depth(), 3u);
      return;
    }
    const std::string file = copy_ + ".qcow2";
    const auto flat = FlatByHand(*host_->OpenRoot(), file, ImageFormat::kQcow2);
    ASSERT_TRUE(flat) << flat.error().message;
    EXPECT_EQ(Difference(before_, *flat), "");
    EXPECT_EQ(CorruptionOf(*host_->OpenRoot(), {file}), "");
  }

  const std::shared_ptr<MemHost> host_ = MemHost::Create({.can_copy_range = false});
  jobs::EventLog events_;
  uint64_t cursor_ = 1;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<jobs::JobManager> jobs_;
  DiskPtr disk_;
  Bytes before_;
  int started_ = 0;
  std::string copy_;
};

TEST_P(ErrorPolicy, ReportEndsIt) {
  for (const bool writing : {false, true}) {
    SCOPED_TRACE(writing ? "write" : "read");
    const std::string id = StartSlowly("report");
    Break(writing, EIO, true);
    GoOn(id);
    Wait(id, [](const auto& job) { return job.error.has_value(); });
    // What must be undone can be, once the host works again.
    host_->ClearFaults();
    EXPECT_TRUE(WaitEnd(id).error.has_value());
    ExpectTold(writing ? "write" : "read", "report");
    ExpectAllAsBefore();
  }
  ExpectGoesThrough();
}

TEST_P(ErrorPolicy, IgnoreGoesOnAndEndsAsAFailure) {
  for (const bool writing : {false, true}) {
    SCOPED_TRACE(writing ? "write" : "read");
    const std::string id = StartSlowly("ignore");
    const size_t fault = Break(writing, EIO, false);
    GoOn(id);
    const jobs::JobInfo job = WaitEnd(id);
    EXPECT_EQ(host_->FaultHits(fault), 1u);
    EXPECT_TRUE(job.error.has_value()) << "a chunk is missing";
    EXPECT_EQ(ExpectTold(writing ? "write" : "read", "ignore"), 1) << "there was one error";
    ExpectAllAsBefore();
    host_->ClearFaults();
  }
  ExpectGoesThrough();
}

TEST_P(ErrorPolicy, StopStandsStillAndDoesItAgain) {
  for (const bool writing : {false, true}) {
    SCOPED_TRACE(writing ? "write" : "read");
    const std::string id = StartSlowly("stop");
    Break(writing, EIO, true);
    GoOn(id);
    const auto stands = [](const auto& job) { return job.status == jobs::JobStatus::kPaused; };
    EXPECT_EQ(Wait(id, stands).io_status, "failed");
    ExpectTold(writing ? "write" : "read", "stop");
    // Resumed too early it stands still once more.
    ASSERT_TRUE(jobs_->Resume(disk_, id));
    Wait(id, stands);
    ForgetEvents();
    host_->ClearFaults();
    if (!writing) {
      ASSERT_TRUE(jobs_->Cancel(disk_, id));
      EXPECT_TRUE(WaitEnd(id).cancelled);
      ExpectAllAsBefore();
      continue;
    }
    ASSERT_TRUE(jobs_->Resume(disk_, id));
    ExpectDone(id);
  }
}

TEST_P(ErrorPolicy, EnospcStandsStillForSpaceOnly) {
  const std::string io = StartSlowly("enospc");
  Break(true, EIO, true);
  GoOn(io);
  Wait(io, [](const auto& job) { return job.error.has_value(); });
  host_->ClearFaults();
  EXPECT_TRUE(WaitEnd(io).error.has_value());
  ExpectTold("write", "report");
  ExpectAllAsBefore();

  const std::string full = StartSlowly("enospc");
  Break(true, ENOSPC, true);
  GoOn(full);
  EXPECT_EQ(
      Wait(full, [](const auto& job) { return job.status == jobs::JobStatus::kPaused; }).io_status,
      "nospace");
  ExpectTold("write", "stop");
  host_->ClearFaults();
  ASSERT_TRUE(jobs_->Resume(disk_, full));
  ExpectDone(full);
}

INSTANTIATE_TEST_SUITE_P(
    Jobs, ErrorPolicy,
    testing::Values(Kind{"stream", "stream", "delete=no", "base.qcow2", "vm.qcow2"},
                    Kind{"commit", "commit", "top=mid.qcow2,base=base.qcow2", "mid.qcow2",
                         "base.qcow2"},
                    Kind{"active_commit", "commit", "base=base.qcow2", "vm.qcow2", "base.qcow2"},
                    Kind{"mirror", "mirror", "target=%.qcow2,then=keep", "base.qcow2", "%.qcow2"},
                    Kind{"backup", "backup", "target=%.qcow2", "base.qcow2", ".%.qcow2"}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace chainfs
