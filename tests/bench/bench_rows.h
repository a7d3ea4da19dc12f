// SPDX-License-Identifier: Apache-2.0
//
// The rows of the table, in phases. Each phase makes its images beneath Settings::work, runs its
// contestants in turn for several rounds (so that a slow minute of the machine hits all of them),
// and removes what it made.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/bench_contestant.h"
#include "tests/bench/bench_report.h"

namespace chainfs::bench {

inline constexpr double kGibibyte = 1 << 30;
// The daemon's own 64 MiB and the default sizes of its two caches.
inline constexpr double kMemoryGoalMib = 192;

struct Settings {
  Programs programs;
  std::string work;        // an empty directory
  uint64_t size = 0;       // bytes of a disk
  uint64_t large = 0;      // bytes of a disk that jobs copy
  uint64_t allocated = 0;  // bytes of the image for the memory row
  int rounds = 5;
  int seconds = 4;  // of one run of one load
  int disks = 1000;
  std::vector<std::string> without;  // contestants left out

  bool Runs(std::string_view contestant) const;
  // Those of `names` that are not left out, in an order that moves on with the round.
  std::vector<std::string_view> Turn(std::vector<std::string_view> names, int round) const;
};

void RunIoRows(const Settings& settings, Report& report);          // "io"
void RunDepthRows(const Settings& settings, Report& report);       // "depth"
void RunFirstWriteRows(const Settings& settings, Report& report);  // "first-write"
void RunStreamRow(const Settings& settings, Report& report);       // "stream"
void RunCommitRow(const Settings& settings, Report& report);       // "commit"
void RunMirrorRow(const Settings& settings, Report& report);       // "mirror"
void RunBackupRow(const Settings& settings, Report& report);       // "backup"
void RunXfsRows(const Settings& settings, Report& report);         // "stream-xfs"
void RunLatencyRows(const Settings& settings, Report& report);     // "latency"
void RunPauseRows(const Settings& settings, Report& report);       // "pauses"
void RunAllocatedRow(const Settings& settings, Report& report);    // "memory"
void RunMountRow(const Settings& settings, Report& report);        // "mount"

}  // namespace chainfs::bench
