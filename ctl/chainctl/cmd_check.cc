// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_check.h"

#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/formats/registry/format_registry.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"
#include "ctl/check/chain_checker.h"

namespace chainfs::chainctl {
namespace {

struct CheckOptions {
  std::string image;
  std::string repair;
  std::optional<std::string> format;
  std::string output = "human";
  bool backing_chain = false;
};

std::atomic<bool> check_stopped = false;

void StopCheck(int /*signal*/) { check_stopped.store(true, std::memory_order_relaxed); }

// Ctrl-C ends a check, and a repair between two writes.
void StopOnSignals() {
  struct sigaction action = {};
  action.sa_handler = StopCheck;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND);
  for (const int number : {SIGINT, SIGTERM}) sigaction(number, &action, nullptr);
}

// One line on a terminal, redrawn in place.
class CheckProgress {
 public:
  explicit CheckProgress(bool quiet) : shown_(!quiet && isatty(STDERR_FILENO) == 1) {}
  ~CheckProgress() {
    if (drawn_) fmt::print(stderr, "\r\033[K");
  }
  CheckProgress(const CheckProgress&) = delete;
  CheckProgress& operator=(const CheckProgress&) = delete;

  void Update(uint32_t percent) {
    if (!shown_) return;
    drawn_.store(true, std::memory_order_relaxed);
    fmt::print(stderr, "\rcheck  {:3}%", percent);
  }

 private:
  const bool shown_;
  std::atomic<bool> drawn_ = false;
};

nlohmann::json ReportJson(const ImageCheckReport& report) {
  // The keys of qemu-img check, where it has them.
  return {{"check-errors", report.check_errors},
          {"corruptions", report.corruptions},
          {"leaks", report.leaks},
          {"corruptions-fixed", report.corruptions_fixed},
          {"leaks-fixed", report.leaks_fixed},
          {"bad-entries", report.bad_entries},
          {"image-end-offset", report.image_end},
          {"total-clusters", report.total_clusters},
          {"allocated-clusters", report.allocated_clusters},
          {"compressed-clusters", report.compressed_clusters},
          {"messages", report.messages}};
}

nlohmann::json LayerJson(const check::CheckedLayer& layer) {
  nlohmann::json facts = {{"filename", layer.path}};
  if (layer.error) facts["error"] = layer.error->message;
  if (layer.image) {
    facts["format"] = std::string(layer.image->format.name());
    facts["virtual-size"] = layer.image->virtual_size;
    if (layer.image->backing) facts["backing-filename"] = layer.image->backing->name;
    if (layer.image->report) facts.update(ReportJson(*layer.image->report));
  }
  facts["problems"] = layer.problems;
  facts["remarks"] = layer.remarks;
  return facts;
}

std::string Summary(const ImageCheckReport& report) {
  std::string text;
  const auto add = [&text](uint64_t number, std::string_view what) {
    if (number > 0) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", number, what);
  };
  add(report.corruptions, "corruptions");
  add(report.leaks, "leaked clusters");
  add(report.check_errors, "clusters whose refcount cannot be read");
  if (text.empty()) text = "nothing found";
  add(report.corruptions_fixed, "corruptions repaired");
  add(report.leaks_fixed, "leaked clusters freed");
  return text;
}

void PrintLayer(const check::CheckedLayer& layer, bool quiet) {
  std::string text;
  const auto line = [&](std::string_view what) {
    text += SafeText(fmt::format("{}: {}", layer.path, what)) + "\n";
  };
  if (layer.image && !layer.image->report) {
    line(fmt::format("{} has nothing to check", layer.image->format.name()));
  }
  if (layer.image && layer.image->report) {
    for (const std::string& message : layer.image->report->messages) line(message);
    const ImageCheckReport& report = *layer.image->report;
    if (report.corruptions + report.leaks > report.messages.size()) line("...");
    line(Summary(report));
  }
  for (const std::string& problem : layer.problems) line(problem);
  if (!quiet) {
    for (const std::string& remark : layer.remarks) line(remark);
  }
  Print(text);
}

// The worst of all layers.
ExitCode EndingOf(const std::vector<check::CheckedLayer>& layers, bool chain) {
  bool failed = false;
  bool corrupt = false;
  bool leaks = false;
  for (const check::CheckedLayer& layer : layers) {
    failed = failed || layer.error.has_value();
    corrupt = corrupt || (chain && !layer.problems.empty());
    if (!layer.image || !layer.image->report) continue;
    const ImageCheckReport& report = *layer.image->report;
    failed = failed || report.check_errors > 0;
    corrupt = corrupt || report.corruptions > 0;
    leaks = leaks || report.leaks > 0;
  }
  if (failed) return ExitCode::kFailed;
  if (corrupt) return ExitCode::kCorruptions;
  if (leaks) return ExitCode::kLeaks;
  const bool checkable = layers.front().image->report.has_value();
  return chain || checkable ? ExitCode::kDone : ExitCode::kNotCheckable;
}

// What a chain that is mounted shows is no image file.
std::optional<std::string> WhyNotAnImage(const std::string& path) {
  if (!FindDisk(path)) return std::nullopt;
  return fmt::format(
      "{}: is a mounted disk; unmount it (chainctl umount) and check its image files", path);
}

std::vector<check::CheckedLayer> CheckLayers(const check::ImageRequest& request, bool chain) {
  if (chain) return check::CheckChain(request);
  check::CheckedLayer layer{
      .path = request.path, .image = {}, .error = {}, .problems = {}, .remarks = {}};
  Result<check::CheckedImage> checked = check::CheckImageFile(request);
  if (checked) {
    layer.image = *std::move(checked);
  } else {
    layer.error = std::move(checked).error();
  }
  return {std::move(layer)};
}

Result<ExitCode> Check(const CheckOptions& options, const CommonOptions& common) {
  // Not the codes of other verbs: 2 and 3 would be taken for findings.
  const auto fail = [](const std::string& message) {
    Note("check: " + SafeText(message));
    return ExitCode::kFailed;
  };
  if (const std::optional<std::string> why = WhyNotAnImage(options.image)) return fail(*why);
  check::ImageRequest request{.path = options.image,
                              .format = std::nullopt,
                              .repair = options.repair.empty()      ? ImageRepair::kNone
                                        : options.repair == "leaks" ? ImageRepair::kLeaks
                                                                    : ImageRepair::kAll,
                              .stop = &check_stopped,
                              .percent = {}};
  if (options.format) {
    request.format = ParseImageFormat(*options.format);
    if (!request.format) {
      return fail(fmt::format("--format {}: must be {}", *options.format,
                              FormatRegistry::BuiltIn().Names()));
    }
  }
  StopOnSignals();
  std::vector<check::CheckedLayer> layers;
  const bool as_json = common.json || options.output == "json";
  {
    CheckProgress progress(common.quiet || as_json);
    request.percent = [&progress](uint32_t percent) { progress.Update(percent); };
    layers = CheckLayers(request, options.backing_chain);
  }
  nlohmann::json all = nlohmann::json::array();
  for (const check::CheckedLayer& layer : layers) {
    if (layer.error) Note("check: " + SafeText(layer.error->message));
    if (as_json) all.push_back(LayerJson(layer));
    if (!as_json && layer.image) PrintLayer(layer, common.quiet);
  }
  if (as_json) Print(OneLine(options.backing_chain ? all : all.front()) + "\n");
  return EndingOf(layers, options.backing_chain);
}

}  // namespace

VerbRow CheckVerb() {
  return {.name = "check",
          .help = "Check or repair an image file that is not mounted",
          .examples =
              "chainctl check vm1.qcow2\n"
              "chainctl check --backing-chain vm1.qcow2\n"
              "chainctl check --repair=leaks vm1.qcow2\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<CheckOptions>();
            verb.add_option("--repair", options->repair,
                            "leaks: free leaked clusters; all: make refcounts right, too")
                ->check(CLI::IsMember({"leaks", "all"}));
            verb.add_option("--format", options->format,
                            "The image's format (default: what its name says)");
            verb.add_option("--output", options->output, "human or json")
                ->check(CLI::IsMember({"human", "json"}));
            verb.add_flag("--backing-chain", options->backing_chain,
                          "Check all that it is built on, too");
            verb.add_option("IMAGE", options->image, "Image file")->required();
            return [options](const CommonOptions& common) { return Check(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
