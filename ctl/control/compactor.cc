// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/compactor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "ctl/control/compaction_plan.h"

namespace chainfs::control {

void Compactor::Start() {
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
}

void Compactor::Stop() {
  {
    const MutexLock lock(mu_);
    stop_ = true;
    news_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void Compactor::LookSoon() {
  const MutexLock lock(mu_);
  look_ = true;
  news_.NotifyAll();
}

void Compactor::Loop() {
  bool come_back = false;
  for (;;) {
    {
      const MutexLock lock(mu_);
      const auto until = std::chrono::steady_clock::now() + patience_;
      while (!look_ && !stop_) {
        if (!come_back) {
          news_.Wait(mu_);
        } else if (!news_.WaitUntil(mu_, until)) {
          break;
        }
      }
      if (stop_) return;
      look_ = false;
    }
    const Status looked = jobs::Guarded([&]() -> Status {
      come_back = LookAtAll();
      return {};
    });
    if (!looked) {
      spdlog::warn("chains are not looked at: {}", looked.error().message);
      come_back = true;
    }
  }
}

bool Compactor::LookAtAll() {
  if (!limits_.any() || catalog_.options().read_only) return false;
  const std::vector<DiskPtr> disks = catalog_.Disks();
  std::erase_if(tried_, [&](const auto& tried) {
    return std::ranges::none_of(disks,
                                [&](const DiskPtr& disk) { return disk->name() == tried.first; });
  });
  std::vector<LayerReport> reports;  // only made when a chain is too long
  bool come_back = false;
  for (const DiskPtr& disk : disks) {
    const uint32_t most = limits_.Of(disk->name());
    const ChainPtr chain = disk->chain();
    if (most == 0 || chain->depth() <= most || disk->read_only()) continue;
    if (HasUnfinishedJob(disk->name())) {
      come_back = true;
      continue;
    }
    const auto tried = tried_.find(disk->name());
    if (tried != tried_.end() && tried->second == chain->generation) continue;
    if (reports.empty()) reports = catalog_.LayersReport();
    come_back |= Merge(disk, *chain, reports, most);
  }
  return come_back;
}

bool Compactor::HasUnfinishedJob(const std::string& disk) const {
  return std::ranges::any_of(jobs_.Jobs(disk), [](const jobs::JobInfo& job) {
    return !job.dry_run && job.status != jobs::JobStatus::kConcluded;
  });
}

bool Compactor::Merge(const DiskPtr& disk, const Chain& chain,
                      const std::vector<LayerReport>& reports, uint32_t most) {
  const Layers layers = chain.AllLayers();
  // What this must not write counts as somebody else's.
  std::vector<LayerReport> usable;
  std::ranges::copy_if(reports, std::back_inserter(usable), [&](const LayerReport& report) {
    const auto layer = std::ranges::find(layers, report.path, &Layer::path);
    return layer != layers.end() && catalog_.moves().CheckMayWrite(*disk, {*layer});
  });
  const std::optional<Compaction> plan = PlanCompaction(layers, usable, most);
  if (!plan) return false;
  verbs::Arguments arguments;
  arguments.Set("top", plan->top->path);
  if (plan->base != nullptr) arguments.Set("base", plan->base->path);
  arguments.Set("priority", "low").Set("generation", std::to_string(chain.generation));
  const Result<std::string> id = jobs_.Start({.type = "stream",
                                              .disk = disk,
                                              .arguments = std::move(arguments),
                                              .privileged = false,
                                              .taken_up = {}});
  if (id) {
    spdlog::info("disk {} has {} layers; job {} merges the oldest, to keep it at {}", disk->name(),
                 chain.depth(), *id, most);
    tried_[disk->name()] = chain.generation;
    return true;
  }
  const ErrorKind kind = id.error().kind;
  if (kind == ErrorKind::kBusy || kind == ErrorKind::kStale) return true;
  spdlog::warn("disk {} has {} layers and stays so: {}", disk->name(), chain.depth(),
               id.error().message);
  tried_[disk->name()] = chain.generation;
  return false;
}

}  // namespace chainfs::control
