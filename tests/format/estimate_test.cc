// SPDX-License-Identifier: Apache-2.0
//
// The figures of a dry run against what the job then does, on images that qemu-img has made:
// bytes exactly, space as an upper bound that is near, time within 30 %. What a machine does
// meanwhile makes a single measure wrong, either way, so it is the median that must be right: of
// five rounds, or of more where they scatter. Where the same job takes three times as long in one
// round as in another, somebody else uses the machine, and it is enough that one round was right.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "jobs/engine/job_manager.h"
#include "jobs/job_types.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

constexpr size_t kFewestRounds = 5;
constexpr size_t kMostRounds = 25;
constexpr uint64_t kDataBytes = uint64_t{384} << 20;

struct EstimateCase {
  std::string type;
  std::vector<std::pair<std::string, std::string>> words;
  std::string grows;  // the file
};

std::ostream& operator<<(std::ostream& out, const EstimateCase& one) { return out << one.type; }

class EstimateTest : public ::testing::TestWithParam<EstimateCase> {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    Run({"dd", "if=/dev/urandom", "of=data.img", "bs=1M", fmt::format("count={}", kDataBytes >> 20),
         "status=none"});
    if (GetParam().type != "commit") return;
    Run({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "data.img", "middle.qcow2"});
    MakeEmptyBase();
    Run({"qemu-img", "rebase", "-u", "-b", "base.qcow2", "-F", "qcow2", "middle.qcow2"});
  }
  void Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_.path()});
    ASSERT_TRUE(result.ok()) << result.Describe();
  }
  void MakeEmptyBase() {
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "base.qcow2", fmt::format("{}", kDataBytes)});
  }
  // All as it was before the first round.
  void MakeImages() {
    Run({"rm", "-rf", ".chainfs", "vm.qcow2", "copy.qcow2"});
    const bool commits = GetParam().type == "commit";
    if (commits) MakeEmptyBase();
    Run({"qemu-img", "create", "-q", "-f", "qcow2", "-b", commits ? "middle.qcow2" : "data.img",
         "-F", commits ? "qcow2" : "raw", "vm.qcow2"});
  }
  void Open() {
    CatalogOptions options;
    auto opened =
        Catalog::Open({{.path = dir_.path(), .name = {}, .format = {}}}, std::move(options));
    ASSERT_TRUE(opened) << opened.error().message;
    catalog_ = *std::move(opened);
    jobs_ = std::make_unique<jobs::JobManager>(*catalog_, events_, jobs::JobTypes(),
                                               jobs::JobManagerOptions{.threads = 0, .failed = {}});
  }
  void Close() {
    if (jobs_ != nullptr) jobs_->Shutdown();
    jobs_.reset();
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
    catalog_.reset();
  }
  nlohmann::json Do(const std::string& id, bool dry_run) {
    verbs::Arguments arguments;
    arguments.Set("id", id).Set("dry-run", dry_run ? "yes" : "no");
    for (const auto& [key, value] : GetParam().words) arguments.Set(key, value);
    const auto started = jobs_->Start({.type = GetParam().type,
                                       .disk = catalog_->Find("vm"),
                                       .arguments = std::move(arguments),
                                       .privileged = false});
    EXPECT_TRUE(started) << started.error().message;
    while (started) {
      const auto job = jobs_->Find("vm", id);
      if (job && job->status == jobs::JobStatus::kConcluded) {
        EXPECT_FALSE(job->error.has_value()) << *job->error;
        return nlohmann::json::parse(jobs::JobToJson(*job));
      }
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
    return {};
  }
  uint64_t FileBytes(const std::string& name) {
    struct stat stat = {};
    return ::stat((dir_ / name).c_str(), &stat) == 0 ? uint64_t(stat.st_blocks) * 512 : 0;
  }
  struct Measure {
    double said = 0;  // seconds
    double took = 0;
    double ratio() const { return said / took; }
    bool right() const { return ratio() >= 0.7 && ratio() <= 1.3; }
  };
  Measure Round() {
    const std::string& grows = GetParam().grows;
    MakeImages();
    Open();
    const uint64_t before = FileBytes(grows);
    const nlohmann::json estimate = Do("estimate", true);
    EXPECT_EQ(FileBytes(grows), before) << "a dry run changes no image";
    const auto began = std::chrono::steady_clock::now();
    const nlohmann::json job = Do("job", false);
    const double took =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    Close();
    EXPECT_EQ(estimate["total-progress"], kDataBytes);
    EXPECT_EQ(job["copied"], kDataBytes);
    const uint64_t grown = FileBytes(grows) - before;
    const uint64_t needed = estimate.value("space-needed", uint64_t{0});
    EXPECT_GE(needed + (1 << 20), grown);
    EXPECT_LE(needed, kDataBytes + kDataBytes / 100);
    EXPECT_TRUE(estimate.contains("estimated-milliseconds")) << estimate;
    const double said = estimate.value("estimated-milliseconds", 0.0) / 1000;
    std::cout << fmt::format("said {:.3f} s, took {:.3f} s\n", said, took);
    return {.said = said, .took = took};
  }

  const TempDir dir_;
  jobs::EventLog events_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<jobs::JobManager> jobs_;
};

TEST_P(EstimateTest, TellsWhatTheJobThenTakes) {
  std::vector<Measure> rounds;
  while (rounds.size() < kMostRounds && !HasFailure()) {
    rounds.push_back(Round());
    std::ranges::sort(rounds, {}, &Measure::ratio);
    if (rounds.size() >= kFewestRounds && rounds[rounds.size() / 2].right()) return;
  }
  const auto [least, most] = std::ranges::minmax(rounds, {}, &Measure::took);
  EXPECT_GT(most.took, 3 * least.took) << "the median is " << rounds[rounds.size() / 2].ratio();
  EXPECT_TRUE(std::ranges::any_of(rounds, &Measure::right));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, EstimateTest,
    testing::Values(
        EstimateCase{"stream", {}, "vm.qcow2"},
        EstimateCase{"commit", {{"top", "middle.qcow2"}, {"base", "base.qcow2"}}, "base.qcow2"},
        EstimateCase{"mirror", {{"target", "copy.qcow2"}, {"then", "keep"}}, "copy.qcow2"},
        EstimateCase{"backup", {{"target", "copy.qcow2"}}, "copy.qcow2"}),
    [](const auto& row) { return row.param.type; });

using NothingToDoTest = EstimateTest;

TEST_P(NothingToDoTest, OfNothingIsNothing) {
  MakeImages();
  Open();
  Do("stream", false);
  const nlohmann::json again = Do("again", true);
  EXPECT_EQ(again["total-progress"], 0);
  EXPECT_EQ(again.value("space-needed", uint64_t{0}), 0u);
  Close();
}

INSTANTIATE_TEST_SUITE_P(Stream, NothingToDoTest,
                         testing::Values(EstimateCase{"stream", {}, "vm.qcow2"}));

}  // namespace
}  // namespace chainfs
