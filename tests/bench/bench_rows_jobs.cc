// SPDX-License-Identifier: Apache-2.0
//
// Streams (how fast, and what a guest feels meanwhile), memory of a huge image, and the mount of
// many disks. A stream merges a chain of eight full layers into an empty overlay; only the overlay
// is made anew for each round.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_load.h"
#include "tests/bench/bench_process.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {
namespace {

constexpr uint64_t kStreamDepth = 8;

double StreamSeconds(const Settings& settings, std::string_view name, const std::string& base) {
  const std::string image = MakeOverlay(base, fmt::format("{}.qcow2", name));
  const auto contestant = StartContestant(settings.programs, name, image, Use::kStream);
  const double start = Now();
  contestant->Stream();
  return Now() - start;
}

// What the host itself needs to copy as many bytes, durably as a stream is.
double CopySeconds(const std::string& raw, const std::string& copy) {
  std::filesystem::remove(copy);
  const double start = Now();
  RunOrFail({"cp", raw, copy});
  const int fd = open(copy.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0) Fail("cannot sync " + copy);
  close(fd);
  return Now() - start;
}

void StreamRounds(const Settings& settings, Report& report, const std::string& row,
                  const std::string& dir, uint64_t run = kClusterSize) {
  const std::string base = MakeChain(dir, kStreamDepth, settings.large, run);
  const std::string raw = dir + "/disk.img";
  MakeRaw(raw, settings.large);
  const double gibibytes = static_cast<double>(settings.large) / kGibibyte;
  for (int round = 0; round < settings.rounds; ++round) {
    for (const std::string_view name : settings.Turn({kChainfs, kRival, kNative}, round)) {
      const double seconds = name == kNative ? CopySeconds(raw, dir + "/copy.img")
                                             : StreamSeconds(settings, name, base);
      report.Add(row, name, gibibytes / seconds);
    }
  }
}

std::vector<Comparison> StreamGoals(const std::string& row, double rival_goal) {
  return {{.label = "x qemu-storage-daemon",
           .contestant = std::string(kChainfs),
           .to_row = row,
           .to_contestant = std::string(kRival),
           .goal = rival_goal}};
}

struct Latencies {
  double idle;
  double streaming;
};

Latencies MeasureLatencies(const Settings& settings, std::string_view name,
                           const std::string& base) {
  const std::string image = MakeOverlay(base, fmt::format("{}.qcow2", name));
  const auto contestant = StartContestant(settings.programs, name, image, Use::kStream);
  LatencyProbe probe(contestant->file());
  sleep(1);  // warm
  const double idle_start = Now();
  sleep(static_cast<unsigned>(settings.seconds));
  const double stream_start = Now();
  contestant->Stream();
  const double stream_end = Now();
  probe.Stop();
  return {.idle = probe.P99(idle_start, stream_start),
          .streaming = probe.P99(stream_start, stream_end)};
}

}  // namespace

void RunStreamRow(const Settings& settings, Report& report) {
  Row row = {"stream", "stream of 8 layers into the top (native: cp)", "GiB/s",
             StreamGoals("stream", 2.5)};
  row.comparisons.push_back({.label = "x cp",
                             .contestant = std::string(kChainfs),
                             .to_row = "stream",
                             .to_contestant = std::string(kNative),
                             .goal = 0.8});
  report.Declare(std::move(row));
  const std::string dir = settings.work + "/stream";
  StreamRounds(settings, report, "stream", dir);
  std::filesystem::remove_all(dir);
}

// An XFS with reflink in a loop file beneath the work directory.
void RunXfsStreamRow(const Settings& settings, Report& report) {
  constexpr uint64_t kLongRun = 4 * kMiB;
  report.Declare({"stream-xfs", "the same on XFS with reflink (native: cp)", "GiB/s",
                  StreamGoals("stream-xfs", 50)});
  report.Declare({"stream-xfs-runs", "the same, layers mixed by 4 MiB instead of 64 KiB", "GiB/s",
                  StreamGoals("stream-xfs-runs", 50)});
  const std::string image = settings.work + "/xfs.img";
  const std::string dir = settings.work + "/xfs";
  RunOrFail({"truncate", "-s", std::to_string(settings.large * 6 + 512 * kMiB), image});
  RunOrFail({"mkfs.xfs", "-q", "-m", "reflink=1", image});
  std::filesystem::create_directories(dir);
  RunOrFail({"mount", "-o", "loop", image, dir});
  StreamRounds(settings, report, "stream-xfs", dir + "/chain");
  std::filesystem::remove_all(dir + "/chain");
  StreamRounds(settings, report, "stream-xfs-runs", dir + "/chain", kLongRun);
  RunOrFail({"umount", dir});
  std::filesystem::remove(image);
}

void RunLatencyRows(const Settings& settings, Report& report) {
  report.Declare({"p99-idle", "p99 of 4 KiB direct reads, idle", "µs", {}});
  Comparison own = {.label = "x idle",
                    .contestant = std::string(kChainfs),
                    .to_row = "p99-idle",
                    .to_contestant = std::string(kChainfs),
                    .goal = 2,
                    .at_most = true};
  Comparison rival = own;
  rival.label = "for the rival";
  rival.contestant = rival.to_contestant = kRival;
  rival.goal.reset();
  report.Declare({"p99-stream", "p99 of 4 KiB direct reads while streaming", "µs", {own, rival}});

  const std::string dir = settings.work + "/latency";
  const std::string base = MakeChain(dir, kStreamDepth, settings.large);
  for (int round = 0; round < settings.rounds; ++round) {
    for (const std::string_view name : settings.Turn({kChainfs, kRival}, round)) {
      const Latencies latencies = MeasureLatencies(settings, name, base);
      report.Add("p99-idle", name, latencies.idle * 1e6);
      report.Add("p99-stream", name, latencies.streaming * 1e6);
    }
  }
  std::filesystem::remove_all(dir);
}

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
