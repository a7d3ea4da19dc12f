// SPDX-License-Identifier: Apache-2.0
//
// The command line: verbs, their options, and how an ending becomes an exit code and one line.
//
// Each Add function declares one verb and says what runs it. Options live in the function objects,
// which live as long as the parse and the run.
#include "ctl/chainctl/cli.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <exception>
#include <functional>
#include <memory>

#include "blocklayer/base/version/version.h"
#include "ctl/chainctl/commands.h"
#include "ctl/chainctl/nearest.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

// Verbs that send a command, so that there is a setfattr line to print.
constexpr std::array kCommandVerbs = {"stream", "snapshot", "flush", "cancel", "pause",
                                      "resume", "dismiss",  "speed", "revert", "thaw"};
// Verbs that say nothing but their result.
constexpr std::array kWordlessVerbs = {"info", "chain", "map", "events", "layers"};

template <size_t N>
bool IsOneOf(const std::array<const char*, N>& verbs, std::string_view name) {
  return std::ranges::any_of(verbs, [&](const char* verb) { return name == verb; });
}

using Action = std::function<Result<ExitCode>()>;

// CLI11 would call the two words "LIMIT(1x)".
class SpeedHelp : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
    return "Usage: chainctl speed [OPTIONS] DISK [ID] LIMIT\n";
  }
};

// What the parse leaves behind: which verb was given, and how to run it.
struct Chosen {
  std::string verb;
  Action run;
};

class Verbs {
 public:
  Verbs(CLI::App& app, Chosen& chosen) : app_(app), chosen_(chosen) {}

  void AddAll();

 private:
  // A verb with the options that all have; `run` gets them with its own.
  template <typename Options>
  CLI::App* Add(const std::string& name, const std::string& help,
                const std::shared_ptr<Options>& options,
                std::function<Result<ExitCode>(const Options&, const CommonOptions&)> run);
  static void AddWaiting(CLI::App* verb, WaitingOptions& waiting);

  void AddShowing();
  void AddMap();
  void AddStream();
  void AddSnapshot();
  void AddJobs();
  void AddSpeed();
  void AddMountVerbs();
  void AddCreate();
  void AddLayers();

  CLI::App& app_;
  Chosen& chosen_;
};

template <typename Options>
CLI::App* Verbs::Add(const std::string& name, const std::string& help,
                     const std::shared_ptr<Options>& options,
                     std::function<Result<ExitCode>(const Options&, const CommonOptions&)> run) {
  CLI::App* const verb = app_.add_subcommand(name, help);
  auto common = std::make_shared<CommonOptions>();
  verb->add_flag("--json", common->json, "Print JSON");
  if (IsOneOf(kCommandVerbs, name)) {
    verb->add_flag("-v,--verbose", common->verbose, "Print the equivalent setfattr line");
  }
  if (!IsOneOf(kWordlessVerbs, name)) {
    verb->add_flag("-q,--quiet", common->quiet, "No progress and no remarks");
  }
  verb->callback([&chosen = chosen_, name, options, common, run = std::move(run)] {
    chosen = {.verb = name, .run = [options, common, run] { return run(*options, *common); }};
  });
  return verb;
}

void Verbs::AddWaiting(CLI::App* verb, WaitingOptions& waiting) {
  verb->add_option("--timeout", waiting.timeout, "Give up waiting after SECONDS (exit 4)")
      ->type_name("SECONDS")
      ->check(CLI::NonNegativeNumber);
  verb->add_option("--progress", waiting.progress_fd, "Write N/100 lines to file descriptor FD")
      ->type_name("FD")
      ->check(CLI::NonNegativeNumber);
}

void Verbs::AddShowing() {
  auto list = std::make_shared<ListOptions>();
  Add<ListOptions>("list", "List the disks of a mount (default: of all mounts)", list, RunList)
      ->add_option("MNT", list->mount, "Mount point");
  auto info = std::make_shared<std::string>();
  Add<std::string>("info", "Show one disk", info, RunInfo)
      ->add_option("DISK", *info, "Mounted file")
      ->required();
  auto chain = std::make_shared<std::string>();
  Add<std::string>("chain", "Show the layers of a disk, active layer first", chain, RunChain)
      ->add_option("DISK", *chain, "Mounted file")
      ->required();
}

void Verbs::AddMap() {
  auto options = std::make_shared<MapOptions>();
  CLI::App* const verb =
      Add<MapOptions>("map", "Draw which layer serves which part of a disk", options, RunMap);
  verb->add_option("DISK", options->disk, "Mounted file")->required();
  verb->add_option("--svg", options->svg, "Write a drawing to FILE (-: to stdout)")
      ->type_name("FILE");
  verb->add_option("--width", options->width, "Width in characters (default: the terminal's)")
      ->type_name("N")
      ->check(CLI::Range(20, 10000));
  verb->add_flag_callback(
      "--lanes", [options] { options->style = PictureStyle::kLanes; }, "One line per layer");
  verb->add_flag_callback(
      "--bar", [options] { options->style = PictureStyle::kBar; }, "One bar, one letter per layer");
}

void Verbs::AddStream() {
  auto options = std::make_shared<StreamOptions>();
  CLI::App* const verb = Add<StreamOptions>(
      "stream", "Merge the layers between base and top into top", options, RunStream);
  verb->add_option("DISK", options->disk, "Mounted file")->required();
  verb->add_option("--base", options->base, "Layer that stays below (default: none, merge all)")
      ->type_name("LAYER");
  verb->add_option("--top", options->top, "Layer to merge into (default: the active layer)")
      ->type_name("LAYER");
  verb->add_option("--speed", options->speed, "Limit in bytes per second (k, M, G: powers of 1024)")
      ->type_name("RATE");
  verb->add_option("--on-error", options->on_error,
                   "report (default), ignore, stop or enospc: pause if space is short")
      ->check(CLI::IsMember({"report", "ignore", "stop", "enospc"}));
  verb->add_option("--id", options->id, "Name of the job");
  verb->add_option("--generation", options->generation,
                   "Refuse if the chain has another generation (exit 5)")
      ->type_name("N");
  verb->add_flag("--dry-run", options->dry_run, "Only estimate what would be copied");
  verb->add_flag("--delete", options->remove, "Then delete the layers that nobody needs any more");
  verb->add_flag("-b,--background", options->waiting.background, "Print the id and return");
  AddWaiting(verb, options->waiting);
}

void Verbs::AddSnapshot() {
  auto options = std::make_shared<SnapshotOptions>();
  CLI::App* const verb = Add<SnapshotOptions>(
      "snapshot", "Freeze the active layer and go on in a new one", options, RunSnapshot);
  verb->add_option("DISK", options->disk, "Mounted file")->required();
  verb->add_option("--target", options->target,
                   "New active layer (default: NAME.N.qcow2 beside the old one)")
      ->type_name("FILE");
  verb->add_option("-o", options->format_options, "Format options, such as cluster_size=128k")
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false);
  verb->add_option("--id", options->id, "Name of the job");
  verb->add_option("--generation", options->generation,
                   "Refuse if the chain has another generation (exit 5)")
      ->type_name("N");
  verb->add_flag("--dry-run", options->dry_run, "Only say whether it can be made");
  auto flush = std::make_shared<std::string>();
  Add<std::string>("flush", "Write all cached data and metadata to the images", flush, RunFlush)
      ->add_option("DISK", *flush, "Mounted file")
      ->required();
}

void Verbs::AddJobs() {
  auto jobs = std::make_shared<JobsOptions>();
  Add<JobsOptions>("jobs", "List the jobs of a disk or mount (default: of all mounts)", jobs,
                   [](const JobsOptions& options, const CommonOptions& common) {
                     JobsOptions wanted = options;
                     wanted.ids_only = common.quiet && !common.json;
                     return RunJobs(wanted, common);
                   })
      ->add_option("PLACE", jobs->place, "Mounted file or mount point (-q prints only ids)");
  const auto add =
      [&](const std::string& name, const std::string& help,
          std::function<Result<ExitCode>(const JobOptions&, const CommonOptions&)> run) {
        auto options = std::make_shared<JobOptions>();
        CLI::App* const verb = Add<JobOptions>(name, help, options, std::move(run));
        verb->add_option("DISK", options->disk, "Mounted file")->required();
        verb->add_option("ID", options->id,
                         name == "dismiss" ? "Job (default: the newest that has finished)"
                                           : "Job (default: the newest that has not finished)");
        return std::pair(verb, options);
      };
  const auto [wait, wait_options] =
      add("wait", "Wait for a job; Ctrl-C only stops watching (exit 4)", RunWait);
  AddWaiting(wait, wait_options->waiting);
  const auto [cancel, cancel_options] =
      add("cancel", "Stop a job; the chain stays as it was", RunCancel);
  AddWaiting(cancel, cancel_options->waiting);
  cancel->add_flag("-b,--background", cancel_options->waiting.background,
                   "Do not wait until it has stopped");
  for (const auto& [name, help] :
       {std::pair("pause", "Pause a job"), std::pair("resume", "Resume a paused job"),
        std::pair("dismiss", "Forget a finished job")}) {
    add(name, help,
        [verb = std::string(name)](const JobOptions& options, const CommonOptions& common) {
          return RunJobVerb(verb, options, common);
        });
  }
}

void Verbs::AddSpeed() {
  struct SpeedOptions {
    std::string disk;
    std::vector<std::string> words;
  };
  auto options = std::make_shared<SpeedOptions>();
  CLI::App* const verb =
      Add<SpeedOptions>("speed", "Limit the speed of a job: DISK [ID] LIMIT", options,
                        [](const SpeedOptions& given, const CommonOptions& common) {
                          JobOptions job{.disk = given.disk, .id = {}, .waiting = {}};
                          if (given.words.size() == 2) job.id = given.words[0];
                          return RunSpeed(job, given.words.back(), common);
                        });
  verb->add_option("DISK", options->disk, "Mounted file")->required();
  verb->formatter(std::make_shared<SpeedHelp>());
  verb->add_option("LIMIT", options->words,
                   "Bytes per second (k, M, G: powers of 1024); 0: no limit")
      ->type_name("[ID] LIMIT")
      ->required()
      ->expected(1, 2);
}

void Verbs::AddMountVerbs() {
  auto events = std::make_shared<EventsOptions>();
  CLI::App* const verb = Add<EventsOptions>(
      "events", "Print past events as JSON lines, then follow", events, RunEvents);
  verb->add_option("MNT", events->mount, "Mount point (default: all)");
  verb->add_flag("--follow,!--no-follow", events->follow,
                 "Go on with new events (default), or not");
  auto umount = std::make_shared<UmountOptions>();
  CLI::App* const unmount =
      Add<UmountOptions>("umount", "Unmount and wait for the daemon to end", umount, RunUmount);
  unmount->add_option("MNT", umount->mount, "Mount point")->required();
  unmount
      ->add_option("--timeout", umount->timeout,
                   "Give up waiting after SECONDS (default: 60; exit 4)")
      ->type_name("SECONDS")
      ->check(CLI::NonNegativeNumber);
}

void Verbs::AddCreate() {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* const verb = Add<CreateOptions>("create", "Create a qcow2 image", options, RunCreate);
  verb->add_option("IMAGE", options->image, "File to create")->required();
  verb->add_option("--size", options->size,
                   "Size of the disk, such as 20G (default: the backing image's)")
      ->type_name("SIZE");
  verb->add_option("--backing", options->backing, "Image to build on")->type_name("FILE");
  verb->add_option("--backing-format", options->backing_format,
                   "Format of the backing image: qcow2 or raw")
      ->type_name("FORMAT");
  verb->add_option("-o", options->format_options,
                   "cluster_size, compat, lazy_refcounts, refcount_bits, compression_type")
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false);
}

void Verbs::AddLayers() {
  auto layers = std::make_shared<LayersOptions>();
  Add<LayersOptions>("layers", "List the layers: who is built on them, what may be deleted", layers,
                     RunLayers)
      ->add_option("MNT", layers->place,
                   "Mount point, or directory of images (default: all mounts)")
      ->type_name("[MNT|DIR]");
  auto revert = std::make_shared<RevertOptions>();
  CLI::App* const verb =
      Add<RevertOptions>("revert", "Undo snapshots: go back to an older layer, drop the newer ones",
                         revert, RunRevert);
  verb->add_option("DISK", revert->disk, "Mounted file")->required();
  verb->add_option("LAYER", revert->layer, "Layer that is active afterwards")->required();
  verb->add_flag("-y,--yes", revert->yes, "Do not ask");
  auto thaw = std::make_shared<std::string>();
  Add<std::string>("thaw", "Let a disk be written that a stream has left out", thaw, RunThaw)
      ->add_option("DISK", *thaw, "Mounted file")
      ->required();
}

void Verbs::AddAll() {
  AddShowing();
  AddMap();
  AddStream();
  AddSnapshot();
  AddJobs();
  AddSpeed();
  AddMountVerbs();
  AddCreate();
  AddLayers();
}

// CLI11's words may come in several lines; ours is one.
int FailUsage(const std::string& message) {
  std::string line = message;
  while (!line.empty() && line.back() == '\n') line.pop_back();
  std::ranges::replace(line, '\n', ' ');
  if (!line.ends_with('?')) line += ';';
  Note(SafeText(line) + " see `chainctl --help`");
  return static_cast<int>(ExitCode::kUsage);
}

// CLI11 only says that a subcommand is required.
std::optional<int> RefuseUnknownVerb(const CLI::App& app, int argc, char** argv) {
  if (argc < 2) return FailUsage("no command is given");
  const std::string word = argv[1];
  if (word.starts_with('-')) return std::nullopt;
  std::vector<std::string> known;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    known.push_back(verb->get_name());
  if (std::ranges::find(known, word) != known.end()) return std::nullopt;
  const std::optional<std::string> nearest = NearestWord(word, known);
  return FailUsage(fmt::format("unknown command '{}'{}", word,
                               nearest ? fmt::format(", did you mean '{}'?", *nearest) : ""));
}

int RunParsed(const Chosen& chosen) {
  const Result<ExitCode> ending = chosen.run();
  if (ending) return static_cast<int>(*ending);
  Note(fmt::format("{}: {}", chosen.verb, ending.error().message));
  return static_cast<int>(ExitCodeFor(ending.error()));
}

}  // namespace

int RunChainctl(int argc, char** argv) {
  try {
    CLI::App app("Controls disk chains that chainfs has mounted", "chainctl");
    app.set_version_flag("-V,--version", fmt::format("chainctl {}", Version()));
    app.require_subcommand(1);
    app.footer(
        "DISK is the path of a mounted file, such as /mnt/vm1.raw.\n"
        "Exit: 0 done, 1 failed, 2 usage, 3 cancelled, 4 still running, 5 refused (busy or "
        "stale),\n"
        "      6 not a chainfs file or the daemon is gone, 7 not permitted.");
    Chosen chosen;
    Verbs(app, chosen).AddAll();
    if (const std::optional<int> refused = RefuseUnknownVerb(app, argc, argv)) return *refused;
    try {
      app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
      // Help and version are "errors" that end well.
      if (error.get_exit_code() == 0) return app.exit(error);
      return FailUsage(error.what());
    }
    return RunParsed(chosen);
  } catch (const std::exception& error) {
    Note(error.what());
    return static_cast<int>(ExitCode::kFailed);
  }
}

}  // namespace chainfs::chainctl
