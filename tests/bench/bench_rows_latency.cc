// SPDX-License-Identifier: Apache-2.0
//
// What a guest that reads feels of a job on its disk.
#include <fmt/core.h>
#include <unistd.h>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_jobs.h"
#include "tests/bench/bench_load.h"
#include "tests/bench/bench_process.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {
namespace {

struct Latencies {
  double idle;
  double working;
};

Latencies MeasureLatencies(const Settings& settings, std::string_view name, JobBench& bench) {
  const auto contestant = bench.Start(name);
  LatencyProbe probe(contestant->file());
  sleep(1);  // warm
  const double idle_start = Now();
  sleep(static_cast<unsigned>(settings.seconds));
  const double job_start = Now();
  contestant->Run(bench.job());
  const double job_end = Now();
  probe.Stop();
  return {.idle = probe.P99(idle_start, job_start), .working = probe.P99(job_start, job_end)};
}

}  // namespace

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
  for (const std::string verb : {"stream", "commit", "mirror", "backup"}) {
    const std::string row = "p99-" + verb;
    report.Declare({row, fmt::format("the same during a {}", verb), "µs", {own, rival}});
    JobBench bench(settings, verb, settings.work + "/latency", kClusterSize);
    for (int round = 0; round < settings.rounds; ++round) {
      for (const std::string_view name : settings.Turn({kChainfs, kRival}, round)) {
        const Latencies latencies = MeasureLatencies(settings, name, bench);
        report.Add("p99-idle", name, latencies.idle * 1e6);
        report.Add(row, name, latencies.working * 1e6);
      }
    }
  }
}

}  // namespace chainfs::bench
