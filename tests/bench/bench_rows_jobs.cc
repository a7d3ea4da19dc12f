// SPDX-License-Identifier: Apache-2.0
//
// How fast jobs are that copy all there is. They run on a chain of eight full layers.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_jobs.h"
#include "tests/bench/bench_process.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {
namespace {

double JobSeconds(JobBench& bench, std::string_view name) {
  const auto contestant = bench.Start(name);
  const double start = Now();
  contestant->Run(bench.job());
  return Now() - start;
}

// What the host itself needs to copy as many bytes, durably as a job does.
double CopySeconds(const std::string& raw, const std::string& copy) {
  std::filesystem::remove(copy);
  const double start = Now();
  RunOrFail({"cp", raw, copy});
  const int fd = open(copy.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || fsync(fd) != 0) Fail("cannot sync " + copy);
  close(fd);
  return Now() - start;
}

void JobRounds(const Settings& settings, Report& report, const std::string& row,
               const std::string& verb, const std::string& dir, uint64_t run = kClusterSize) {
  JobBench bench(settings, verb, dir, run);
  const std::string raw = dir + "/disk.img";
  MakeRaw(raw, settings.large);
  for (int round = 0; round < settings.rounds; ++round) {
    for (const std::string_view name : settings.Turn({kChainfs, kRival, kNative}, round)) {
      const bool native = name == kNative;
      const double seconds = native ? CopySeconds(raw, dir + "/copy.img") : JobSeconds(bench, name);
      const double bytes = native ? static_cast<double>(settings.large) : bench.moved();
      report.Add(row, name, bytes / kGibibyte / seconds);
    }
  }
}

Comparison WithRival(const std::string& row, double goal) {
  return {.label = "x qemu-storage-daemon",
          .contestant = std::string(kChainfs),
          .to_row = row,
          .to_contestant = std::string(kRival),
          .goal = goal};
}

void RunJobRow(const Settings& settings, Report& report, const std::string& verb,
               const std::string& what) {
  report.Declare({verb,
                  what + " (native: cp)",
                  "GiB/s",
                  {WithRival(verb, 2.5),
                   {.label = "x cp",
                    .contestant = std::string(kChainfs),
                    .to_row = verb,
                    .to_contestant = std::string(kNative),
                    .goal = 0.8}}});
  JobRounds(settings, report, verb, verb, settings.work + "/" + verb);
}

}  // namespace

void RunStreamRow(const Settings& settings, Report& report) {
  RunJobRow(settings, report, "stream", "stream of 8 layers into the top");
}

void RunCommitRow(const Settings& settings, Report& report) {
  RunJobRow(settings, report, "commit", "commit of 7 layers into the base");
}

void RunMirrorRow(const Settings& settings, Report& report) {
  RunJobRow(settings, report, "mirror", "mirror of 8 layers to a new qcow2 image");
}

void RunBackupRow(const Settings& settings, Report& report) {
  RunJobRow(settings, report, "backup", "backup of 8 layers to a new qcow2 image");
}

// An XFS with reflink in a loop file beneath the work directory.
void RunXfsRows(const Settings& settings, Report& report) {
  struct XfsRow {
    std::string row;
    std::string what;
    std::string verb;
    uint64_t run;
  };
  constexpr uint64_t kLongRun = 4 * kMiB;
  const std::vector<XfsRow> rows = {
      {"stream-xfs", "a stream on XFS with reflink", "stream", kClusterSize},
      {"stream-xfs-runs", "the same, layers mixed by 4 MiB instead of 64 KiB", "stream", kLongRun},
      {"commit-xfs-runs", "a commit like that", "commit", kLongRun}};
  const std::string image = settings.work + "/xfs.img";
  const std::string dir = settings.work + "/xfs";
  RunOrFail({"truncate", "-s", std::to_string(settings.large * 6 + 512 * kMiB), image});
  RunOrFail({"mkfs.xfs", "-q", "-m", "reflink=1", image});
  std::filesystem::create_directories(dir);
  RunOrFail({"mount", "-o", "loop", image, dir});
  for (const XfsRow& row : rows) {
    report.Declare({row.row, row.what + " (native: cp)", "GiB/s", {WithRival(row.row, 50)}});
    JobRounds(settings, report, row.row, row.verb, dir + "/jobs", row.run);
  }
  RunOrFail({"umount", dir});
  std::filesystem::remove(image);
}

}  // namespace chainfs::bench
