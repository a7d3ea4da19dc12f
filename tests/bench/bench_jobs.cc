// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bench_jobs.h"

#include <fmt/core.h>

#include <filesystem>
#include <utility>

#include "tests/bench/bench_images.h"

namespace chainfs::bench {
namespace {

constexpr uint64_t kDepth = 8;

}  // namespace

JobBench::JobBench(const Settings& settings, std::string verb, std::string dir, uint64_t run,
                   bool moves)
    : settings_(settings), dir_(std::move(dir)), chain_(dir_ + "/chain") {
  std::filesystem::create_directories(dir_);
  MakeChain(chain_, kDepth, settings.large, run);
  job_.verb = std::move(verb);
  job_.size = settings.large;
  job_.moves = moves;
}

JobBench::~JobBench() {
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

// A commit leaves the data of the base where they are.
double JobBench::moved() const {
  const auto all = static_cast<double>(settings_.large);
  return job_.verb == "commit" ? all * (kDepth - 1) / kDepth : all;
}

std::unique_ptr<Contestant> JobBench::Start(std::string_view name) {
  std::string chain = chain_;
  if (job_.verb == "commit" || job_.moves) {
    chain = dir_ + "/copy";
    CopyDirectory(chain_, chain);
  }
  const std::string uppermost = fmt::format("{}/layer-{}.qcow2", chain, kDepth);
  job_.top = uppermost;
  job_.base = chain + "/layer-1.qcow2";
  job_.target = chain + "/target.qcow2";
  std::filesystem::remove(job_.target);
  const std::string image = MakeOverlay(uppermost, fmt::format("{}.qcow2", name));
  return StartContestant(settings_.programs, name, image, Use::kJobs);
}

}  // namespace chainfs::bench
