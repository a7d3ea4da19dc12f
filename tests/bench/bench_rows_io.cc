// SPDX-License-Identifier: Apache-2.0
//
// Reads and writes of a disk: one layer against every contestant, then the same disk at growing
// depth, then first writes into an empty overlay.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_load.h"
#include "tests/bench/bench_process.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {
namespace {

constexpr uint64_t kDepths[] = {1, 8, 64, 512};

struct Load {
  std::string row;
  FioJob job;
  double unit;  // bytes a second that are shown as one
};

Comparison Against(std::string_view contestant, const std::string& row, double goal) {
  const std::string label = contestant == kRival   ? "x qemu-storage-daemon"
                            : contestant == kLimit ? "x pass-through"
                                                   : "x native";
  return {.label = label,
          .contestant = std::string(kChainfs),
          .to_row = row,
          .to_contestant = std::string(contestant),
          .goal = goal};
}

std::vector<Load> IoLoads(int seconds) {
  constexpr double kThousandBlocks = 4096 * 1e3;
  return {
      {"randread", {.rw = "randread", .seconds = seconds}, kThousandBlocks},
      {"randwrite", {.rw = "randwrite", .seconds = seconds}, kThousandBlocks},
      {"seqread", {.rw = "read", .block_size = kMiB, .threads = 1, .seconds = seconds}, kGibibyte},
      {"reread", {.rw = "randread", .direct = false, .seconds = seconds}, kThousandBlocks}};
}

void DeclareIoRows(Report& report) {
  report.Declare({"randread",
                  "4 KiB random direct reads, 4 threads",
                  "k IOPS",
                  {Against(kRival, "randread", 2), Against(kLimit, "randread", 0.9)}});
  report.Declare({"randwrite",
                  "4 KiB random direct writes to allocated clusters, 4 threads",
                  "k IOPS",
                  {Against(kRival, "randwrite", 1.5), Against(kLimit, "randwrite", 0.9)}});
  report.Declare({"seqread",
                  "1 MiB sequential direct reads, 1 thread",
                  "GiB/s",
                  {Against(kRival, "seqread", 3), Against(kLimit, "seqread", 0.9)}});
  report.Declare({"reread",
                  "4 KiB random buffered re-reads, 4 threads",
                  "k IOPS",
                  {Against(kNative, "reread", 0.9)}});
}

std::string DepthRow(uint64_t depth) { return fmt::format("depth-{}", depth); }

void DeclareDepthRows(Report& report) {
  for (const uint64_t depth : kDepths) {
    Row row = {
        DepthRow(depth), fmt::format("4 KiB random direct reads at depth {}", depth), "k IOPS", {}};
    if (depth > 1) {
      Comparison own = {.label = "x its depth 1",
                        .contestant = std::string(kChainfs),
                        .to_row = DepthRow(1),
                        .to_contestant = std::string(kChainfs),
                        .goal = depth >= 64 ? std::optional(0.95) : std::nullopt};
      Comparison rival = own;
      rival.label = "for the rival";
      rival.contestant = rival.to_contestant = kRival;
      rival.goal.reset();
      row.comparisons = {std::move(own), std::move(rival)};
    }
    report.Declare(std::move(row));
  }
  report.Declare({"memory-512",
                  "resident memory after reads at depth 512",
                  "MiB",
                  {{.label = "MiB",
                    .contestant = std::string(kChainfs),
                    .goal = kMemoryGoalMib,
                    .at_most = true}}});
}

std::string ImageFor(std::string_view contestant, const std::string& raw, const std::string& top) {
  const std::string name = std::string(contestant);
  if (contestant == kNative || contestant == kLimit) return CopyBeside(raw, name + ".img");
  return CopyBeside(top, name + ".qcow2");
}

}  // namespace

bool Settings::Runs(std::string_view contestant) const {
  return std::ranges::find(without, contestant) == without.end();
}

std::vector<std::string_view> Settings::Turn(std::vector<std::string_view> names, int round) const {
  std::erase_if(names, [this](std::string_view name) { return !Runs(name); });
  if (!names.empty()) {
    std::ranges::rotate(names, names.begin() + round % static_cast<int>(names.size()));
  }
  return names;
}

void RunIoRows(const Settings& settings, Report& report) {
  DeclareIoRows(report);
  const std::string dir = settings.work + "/io";
  const std::string top = MakeChain(dir, 1, settings.size);
  const std::string raw = dir + "/disk.img";
  MakeRaw(raw, settings.size);

  const std::vector<std::string_view> names = {kChainfs, kRival, kLimit, kNative};
  std::map<std::string_view, std::unique_ptr<Contestant>> contestants;
  for (const std::string_view name : settings.Turn(names, 0)) {
    contestants[name] = StartContestant(settings.programs, name, ImageFor(name, raw, top));
  }
  for (const Load& load : IoLoads(settings.seconds)) {
    for (int round = 0; round < settings.rounds; ++round) {
      for (const std::string_view name : settings.Turn(names, round)) {
        const std::string& file = contestants[name]->file();
        if (!load.job.direct && round == 0) WarmPageCache(file);
        report.Add(load.row, name, RunFio(load.job, file) / load.unit);
      }
    }
  }
  contestants.clear();
  std::filesystem::remove_all(dir);
}

void RunDepthRows(const Settings& settings, Report& report) {
  DeclareDepthRows(report);
  struct Place {
    uint64_t depth;
    std::unique_ptr<Contestant> contestant;
  };
  std::vector<Place> places;
  for (const uint64_t depth : kDepths) {
    const std::string dir = fmt::format("{}/depth-{}", settings.work, depth);
    const std::string top = MakeChain(dir, depth, settings.size);
    for (const std::string_view name : settings.Turn({kChainfs, kRival}, 0)) {
      const std::string image = CopyBeside(top, fmt::format("{}.qcow2", name));
      places.push_back({depth, StartContestant(settings.programs, name, image)});
    }
  }
  const FioJob job = {.seconds = settings.seconds};
  for (int round = 0; round < settings.rounds; ++round) {
    if (!places.empty()) std::ranges::rotate(places, places.begin() + 1);
    for (const Place& place : places) {
      report.Add(DepthRow(place.depth), place.contestant->name(),
                 RunFio(job, place.contestant->file()) / (4096 * 1e3));
    }
  }
  for (const Place& place : places) {
    if (place.depth != 512) continue;
    report.Add("memory-512", place.contestant->name(),
               static_cast<double>(place.contestant->ResidentBytes()) / kMiB);
  }
  places.clear();
  for (const uint64_t depth : kDepths) {
    std::filesystem::remove_all(fmt::format("{}/depth-{}", settings.work, depth));
  }
}

void RunFirstWriteRows(const Settings& settings, Report& report) {
  const Comparison to_allocated = {.label = "x writes to allocated clusters",
                                   .contestant = std::string(kChainfs),
                                   .to_row = "second-write",
                                   .to_contestant = std::string(kChainfs),
                                   .goal = 0.6};
  report.Declare({"first-write",
                  "4 KiB first writes into an empty overlay, 4 threads",
                  "k IOPS",
                  {Against(kRival, "first-write", 2)}});
  report.Declare({"first-write-extended",
                  "the same with extended L2 entries",
                  "k IOPS",
                  {Against(kRival, "first-write-extended", 2), to_allocated}});
  report.Declare({"second-write", "the same once more, to allocated clusters", "k IOPS", {}});
  const std::string dir = settings.work + "/first-write";
  const std::string base = MakeChain(dir, 1, settings.size);
  for (int round = 0; round < settings.rounds; ++round) {
    for (const std::string_view name : settings.Turn({kChainfs, kRival}, round)) {
      const std::string file = fmt::format("{}.qcow2", name);
      {
        const std::string image = MakeOverlay(base, file);
        const auto contestant = StartContestant(settings.programs, name, image);
        report.Add("first-write", name, FirstWrites(contestant->file(), 4) / 1e3);
      }
      const std::string image = MakeOverlay(base, file, "extended_l2=on");
      const auto contestant = StartContestant(settings.programs, name, image);
      report.Add("first-write-extended", name, FirstWrites(contestant->file(), 4) / 1e3);
      report.Add("second-write", name, FirstWrites(contestant->file(), 4) / 1e3);
    }
  }
  std::filesystem::remove_all(dir);
}

}  // namespace chainfs::bench
