// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/job_verb.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ctl/chainctl/chain_line.h"
#include "ctl/chainctl/job_id.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"
#include "ctl/chainctl/waiting.h"

namespace chainfs::chainctl {
namespace {

struct JobVerbOptions {
  std::string_view verb;
  std::string disk;
  verbs::Arguments arguments = {};
  std::vector<std::string> format_options = {};  // KEY=VALUE[,KEY=VALUE]
  WaitingOptions waiting = {};

  std::string name() const { return std::string(verb); }
  // Layers that nobody needs are deleted at the end.
  bool removes() const { return arguments.Text("delete").value_or("no") == "yes"; }
};

// Those of the command's keys that say how a new image is made, which `-o` takes.
std::vector<verbs::Key> FormatKeysOf(const verbs::Verb& command) {
  std::vector<verbs::Key> keys;
  for (const verbs::Key& key : verbs::FormatKeys()) {
    if (verbs::FindKey(command.keys, key.name) != nullptr) keys.push_back(key);
  }
  return keys;
}

Result<verbs::Arguments> ArgumentsOf(const JobVerbOptions& options) {
  const verbs::Verb& command = CommandOf(options.verb);
  CHAINFS_ASSIGN(verbs::Arguments arguments, AsSent(options.arguments, command.keys));
  const std::vector<verbs::Key> keys = FormatKeysOf(command);
  CHAINFS_ASSIGN(const verbs::Arguments format, FormatOptionsAsSent(options.format_options, keys));
  for (const verbs::Key& key : keys) arguments.SetIf(key.name, format.Text(key.name));
  if (!arguments.Has("id")) arguments.Set("id", NewJobId(options.verb));
  return arguments;
}

// Unless it is as it was before; what it is now. A picture is no matter to fail for.
using Layers = std::vector<std::string>;
Layers ShowChain(std::string_view when, const DiskPath& disk, const Layers& before) {
  const Result<Layers> layers = ReadLayers(disk);
  if (!layers || *layers == before) return before;
  Print(fmt::format("{} {}\n", when, ChainLine(*layers)));
  return *layers;
}

// What became of the layers that were merged. What a job has made for itself and removed again is
// nobody's concern.
void ReportLeftOut(const JobReport& job, bool asked_to_remove) {
  if (asked_to_remove) {
    for (const std::string& path : job.removed) Print(fmt::format("removed {}\n", SafeText(path)));
  }
  for (const std::string& path : job.unneeded) {
    Print(fmt::format("no image in view needs {} any more\n", SafeText(path)));
  }
}

// The figure is right once the dry run has concluded, not before.
Result<ExitCode> ReportEstimate(const JobVerbOptions& options, const DiskPath& disk,
                                const std::string& id, WaitSignals& signals,
                                const CommonOptions& common) {
  const WaitOptions wait{.timeout = {}, .progress = {.quiet = true, .percent_fd = {}}};
  CHAINFS_ASSIGN(const WaitOutcome outcome, WaitForJob(disk, id, signals, wait));
  const JobReport& estimate = outcome.job;
  if (outcome.end != WaitEnd::kConcluded || estimate.error) {
    Note(fmt::format("{}: {}: no estimate: {}", options.verb, disk.shown,
                     estimate.error.value_or("interrupted")));
    return estimate.cancelled ? ExitCode::kCancelled : ExitCode::kFailed;
  }
  if (common.json) {
    Print(estimate.raw + "\n");
    return ExitCode::kDone;
  }
  Print(fmt::format("{}: estimate, nothing was done: the {} would {} up to {}\n", disk.shown,
                    options.verb, options.verb == "rebase" ? "compare" : "copy",
                    FormatSize(estimate.total)));
  if (estimate.space_needed.value_or(0) > 0) {
    Print(fmt::format("space needed: at most {}\n", FormatSize(*estimate.space_needed)));
  }
  if (estimate.estimated_ms) {
    Print(
        fmt::format("time: about {:.1f} s\n", static_cast<double>(*estimate.estimated_ms) / 1000));
  }
  for (const std::string& path : estimate.unneeded) {
    Print(fmt::format(
        "{} {}\n",
        options.removes() ? "it would remove" : "nobody would need any more:", SafeText(path)));
  }
  return ExitCode::kDone;
}

Result<ExitCode> PrintStarted(const DiskPath& disk, const std::string& id,
                              const CommonOptions& common) {
  if (!common.json) {
    Print(id + "\n");
    return ExitCode::kDone;
  }
  CHAINFS_ASSIGN(const JobReport job, ReadJob(disk, id));
  Print(job.raw + "\n");
  return ExitCode::kDone;
}

Result<ExitCode> RunJobVerb(const JobVerbOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const verbs::Arguments arguments, ArgumentsOf(options));
  const std::string id = arguments.Text("id").value_or("");
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  const bool talks = !common.json && !common.quiet;
  const bool dry_run = arguments.Has("dry-run");
  Layers shown;
  if (talks && (dry_run || !options.waiting.background)) shown = ShowChain("chain:", disk, {});
  WaitSignals signals;
  CHAINFS_TRY(
      Send(disk, {.verb = options.name(), .value = arguments.Format(), .verbose = common.verbose}));
  if (dry_run) return ReportEstimate(options, disk, id, signals, common);
  if (options.waiting.background) return PrintStarted(disk, id, common);
  CHAINFS_ASSIGN(const ExitCode code,
                 WaitAndReport(options.name(), disk, id, signals, OnInterrupt::kCancelJob,
                               options.waiting, common));
  if (code != ExitCode::kDone || !talks) return code;
  ShowChain("now:  ", disk, shown);
  const Result<JobReport> job = ReadJob(disk, id);
  if (job) ReportLeftOut(*job, options.removes());
  if (job && options.removes() && !job->warning.empty()) {
    Note(fmt::format("{}: {}", options.verb, job->warning));
  }
  return code;
}

}  // namespace

Action DeclareJobVerb(CLI::App& app, std::string_view verb,
                      std::initializer_list<std::string_view> without) {
  auto options = std::make_shared<JobVerbOptions>(JobVerbOptions{.verb = verb, .disk = {}});
  AddDisk(app, options->disk);
  AddKeyOptions(app, CommandOf(verb), without, options->arguments);
  const std::vector<verbs::Key> format = FormatKeysOf(CommandOf(verb));
  if (!format.empty()) AddFormatOptions(app, format, options->format_options);
  AddWaiting(app, options->waiting, "Print the id and return");
  return [options](const CommonOptions& common) { return RunJobVerb(*options, common); };
}

}  // namespace chainfs::chainctl
