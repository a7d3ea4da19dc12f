// SPDX-License-Identifier: Apache-2.0
//
// What the daemon itself needs: memory of a huge image, and the mount of many disks.
#include <fmt/core.h>

#include <filesystem>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_load.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {

void RunAllocatedRow(const Settings& settings, Report& report) {
  report.Declare(
      {"memory-allocated",
       fmt::format("resident memory after random reads of a fully allocated {} GiB image",
                   settings.allocated >> 30),
       "MiB",
       {{.label = "MiB",
         .contestant = std::string(kChainfs),
         .goal = kMemoryGoalMib,
         .at_most = true}}});
  const std::string dir = settings.work + "/allocated";
  std::filesystem::create_directories(dir);
  const std::string image = dir + "/allocated.qcow2";
  MakeAllocatedSparse(image, settings.allocated);
  for (const std::string_view name : settings.Turn({kChainfs, kRival}, 0)) {
    const auto contestant = StartContestant(settings.programs, name, image);
    RunFio({.seconds = 2 * settings.seconds}, contestant->file());
    report.Add("memory-allocated", name, static_cast<double>(contestant->ResidentBytes()) / kMiB);
  }
  std::filesystem::remove_all(dir);
}

void RunMountRow(const Settings& settings, Report& report) {
  report.Declare(
      {"mount",
       fmt::format("mount of a directory of {} disks until all can be used", settings.disks),
       "s",
       {{.label = "s", .contestant = std::string(kChainfs), .goal = 1, .at_most = true}}});
  if (!settings.Runs(kChainfs)) return;
  const std::string dir = settings.work + "/many";
  MakeManyChains(dir, settings.disks);
  for (int round = 0; round < settings.rounds; ++round) {
    report.Add("mount", kChainfs, MountSeconds(settings.programs, dir, settings.disks));
  }
  std::filesystem::remove_all(dir);
}

}  // namespace chainfs::bench
