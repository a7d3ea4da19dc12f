// SPDX-License-Identifier: Apache-2.0
//
// The benchmark's driver; tests/bench/run builds it and starts it in a directory of its own.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tests/bench/bench_images.h"
#include "tests/bench/bench_process.h"
#include "tests/bench/bench_rows.h"

namespace chainfs::bench {
namespace {

struct Phase {
  std::string name;
  void (*run)(const Settings&, Report&);
};

const std::vector<Phase>& Phases() {
  static const std::vector<Phase> phases = {
      {"io", RunIoRows},        {"depth", RunDepthRows},     {"first-write", RunFirstWriteRows},
      {"stream", RunStreamRow}, {"commit", RunCommitRow},    {"mirror", RunMirrorRow},
      {"backup", RunBackupRow}, {"stream-xfs", RunXfsRows},  {"latency", RunLatencyRows},
      {"pauses", RunPauseRows}, {"memory", RunAllocatedRow}, {"mount", RunMountRow}};
  return phases;
}

struct Options {
  Settings settings;
  uint64_t size_mib = 1024;
  bool quick = false;
  bool json = false;
  std::vector<std::string> only;
};

void AddOptions(CLI::App& app, Options& options) {
  Settings& settings = options.settings;
  std::vector<std::string> phases;
  for (const Phase& phase : Phases()) phases.push_back(phase.name);
  app.add_option("--work", settings.work, "an empty directory for images and mounts")->required();
  app.add_option("--bin", settings.programs.bin_dir, "where our programs are")->required();
  app.add_option("--qsd", settings.programs.qsd, "another qemu-storage-daemon")
      ->default_val("qemu-storage-daemon");
  app.add_option("--qsd-export", settings.programs.qsd_export, "added to its --export option");
  app.add_option("--chainfs-options", settings.programs.chainfs_args, "added to chainfs' -o");
  app.add_option("--rounds", settings.rounds, "rounds that medians are taken of");
  app.add_option("--seconds", settings.seconds, "seconds of one run of a load");
  app.add_option("--size", options.size_mib, "MiB of a disk");
  app.add_option("--only", options.only, "phases to run")->check(CLI::IsMember(phases));
  app.add_option("--without", settings.without, "contestants to leave out")
      ->check(CLI::IsMember({"chainfs", "qsd", "passthrough", "native"}));
  app.add_flag("--quick", options.quick, "one short round on small disks: shows that it runs");
  app.add_flag("--json", options.json, "the result as JSON");
}

void Complete(Options& options) {
  Settings& settings = options.settings;
  if (options.quick) {
    settings.rounds = 1;
    settings.seconds = 1;
    options.size_mib = std::min<uint64_t>(options.size_mib, 128);
    settings.disks = 100;
  }
  settings.size = options.size_mib * kMiB;
  settings.large = 2 * settings.size;
  settings.allocated = options.quick ? uint64_t{16} << 30 : uint64_t{1} << 40;
  settings.programs.run_dir = settings.work + "/run";
  if (!settings.programs.chainfs_args.empty()) settings.programs.chainfs_args.insert(0, ",");
  if (!settings.programs.qsd_export.empty()) settings.programs.qsd_export.insert(0, ",");
  std::filesystem::create_directories(settings.programs.run_dir);
}

void Print(const Options& options, const Report& report) {
  const std::vector<std::string> facts =
      MachineFacts(options.settings.programs.qsd, options.settings.work);
  if (options.json) {
    nlohmann::json all = {{"machine", facts}, {"rounds", options.settings.rounds}};
    all["rows"] = nlohmann::json::parse(report.Json());
    fmt::print("{}\n", all.dump(2));
    return;
  }
  for (const std::string& fact : facts) fmt::print("- {}\n", fact);
  fmt::print("- disks of {} MiB, medians of {} rounds of {} s\n\n{}", options.size_mib,
             options.settings.rounds, options.settings.seconds, report.Markdown());
}

int Main(int argc, char** argv) {
  CLI::App app("Measures chainfs beside its rival, its limit and the host.");
  Options options;
  AddOptions(app, options);
  CLI11_PARSE(app, argc, argv);
  Complete(options);

  Report report;
  for (const Phase& phase : Phases()) {
    const auto& only = options.only;
    if (!only.empty() && std::ranges::find(only, phase.name) == only.end()) continue;
    const double start = Now();
    fmt::print(stderr, "bench: {} ...\n", phase.name);
    phase.run(options.settings, report);
    fmt::print(stderr, "bench: {} took {:.0f} s\n", phase.name, Now() - start);
  }
  Print(options, report);
  return 0;
}

}  // namespace
}  // namespace chainfs::bench

int main(int argc, char** argv) { return chainfs::bench::Main(argc, argv); }
