// SPDX-License-Identifier: Apache-2.0
//
// How long a guest that writes has to wait at most when its disk moves to other layers.
#include <unistd.h>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_jobs.h"
#include "tests/bench/bench_load.h"
#include "tests/bench/bench_process.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {
namespace {

// What fio would call its largest completion latency.
constexpr double kMirrorGoalMs = 100;

struct Move {
  std::string verb;
  std::string what;
};

// Until a second after the job, so that whatever its end has held up has ended, too.
void MeasurePauses(const Settings& settings, Report& report, const Move& move) {
  JobBench bench(settings, move.verb, settings.work + "/pauses", kClusterSize, /*moves=*/true);
  for (int round = 0; round < settings.rounds; ++round) {
    const auto contestant = bench.Start(kChainfs);
    LatencyProbe probe(contestant->file(), LatencyProbe::Kind::kWrites);
    sleep(1);  // warm
    const double idle_start = Now();
    sleep(static_cast<unsigned>(settings.seconds));
    const double job_start = Now();
    contestant->Run(bench.job());
    sleep(1);
    const double job_end = Now();
    probe.Stop();
    report.Add("pause-idle", kChainfs, probe.Longest(idle_start, job_start) * 1e3);
    report.Add("pause-" + move.verb, kChainfs, probe.Longest(job_start, job_end) * 1e3);
  }
}

}  // namespace

void RunPauseRows(const Settings& settings, Report& report) {
  report.Declare({"pause-idle", "longest of the 4 KiB direct writes of a guest, idle", "ms", {}});
  const std::vector<Move> moves = {{"mirror", "the same during a mirror with pivot"},
                                   {"commit", "the same during a commit of the active layer"},
                                   {"backup", "the same during a backup"}};
  if (!settings.Runs(kChainfs)) return;
  for (const Move& move : moves) {
    Row row = {"pause-" + move.verb, move.what, "ms", {}};
    if (move.verb == "mirror") {
      row.comparisons.push_back({.label = "ms",
                                 .contestant = std::string(kChainfs),
                                 .to_row = "",
                                 .to_contestant = "",
                                 .goal = kMirrorGoalMs,
                                 .at_most = true});
    }
    report.Declare(row);
    MeasurePauses(settings, report, move);
  }
}

}  // namespace chainfs::bench
