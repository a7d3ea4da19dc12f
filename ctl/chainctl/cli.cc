// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cli.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <memory>
#include <optional>

#include "blocklayer/base/version/version.h"
#include "ctl/chainctl/nearest.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/verb_rows.h"

namespace chainfs::chainctl {
namespace {

constexpr std::string_view kExamples =
    R"(DISK is the path of a mounted file, such as /mnt/images/vm1.raw.

Examples:
  chainctl list                                what is mounted, what is broken and why
  chainctl map vm1.raw                         which layer serves which part of the disk
  chainctl stream vm1.raw --base base.qcow2    merge the layers between, while the disk is used
  chainctl snapshot vm1.raw                    freeze the active layer, go on in a new one
  chainctl umount /mnt/images                  and wait until all has been written
`chainctl COMMAND --help` has more. See chainctl(1).
)";

// What the parse leaves behind: which verb was given, and how to run it.
struct Chosen {
  std::string verb;
  Action run;
  std::shared_ptr<CommonOptions> common;
};

std::string ExitCodesText() {
  std::string text = "\nExit codes:\n";
  for (const ExitCodeRow& row : ExitCodes()) {
    text += fmt::format("  {}  {}\n", static_cast<int>(row.code), row.help);
  }
  return text;
}

std::string ExamplesText(std::string_view lines) {
  std::string text = "Examples:\n";
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    text += fmt::format("  {}\n", lines.substr(0, end));
    lines.remove_prefix(end == std::string_view::npos ? lines.size() : end + 1);
  }
  return text;
}

void AddVerb(CLI::App& app, const VerbRow& row, Chosen& chosen) {
  CLI::App* const verb = app.add_subcommand(std::string(row.name), std::string(row.help));
  auto common = std::make_shared<CommonOptions>();
  verb->add_flag("--json", common->json, "Print JSON");
  if (row.sends) {
    verb->add_flag("-v,--verbose", common->verbose, "Print the equivalent setfattr line");
  }
  if (row.remarks) verb->add_flag("-q,--quiet", common->quiet, "No progress and no remarks");
  verb->footer(ExamplesText(row.examples));
  verb->callback([&chosen, name = std::string(row.name), run = row.declare(*verb), common] {
    chosen = {.verb = name, .run = run, .common = common};
  });
}

void AddAll(CLI::App& app, std::span<const VerbRow> rows, Chosen& chosen) {
  for (const VerbRow& row : rows) AddVerb(app, row, chosen);
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
  const Result<ExitCode> ending = chosen.run(*chosen.common);
  if (ending) return static_cast<int>(*ending);
  Note(fmt::format("{}: {}", chosen.verb, ending.error().message));
  return static_cast<int>(ExitCodeFor(ending.error()));
}

}  // namespace

int RunChainctl(int argc, char** argv) { return RunVerbs(VerbRows(), argc, argv); }

int RunVerbs(std::span<const VerbRow> rows, int argc, char** argv) {
  try {
    CLI::App app("Controls disk chains that chainfs has mounted", "chainctl");
    app.set_version_flag("-V,--version", fmt::format("chainctl {}", Version()));
    app.require_subcommand(1);
    app.footer(std::string(kExamples) + ExitCodesText());
    Chosen chosen;
    AddAll(app, rows, chosen);
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

std::vector<DescribedVerb> DescribeVerbs(std::span<const VerbRow> rows) {
  CLI::App app;
  Chosen chosen;
  AddAll(app, rows, chosen);
  std::vector<DescribedVerb> described;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    DescribedVerb& one = described.emplace_back();
    one.name = verb->get_name();
    for (const CLI::Option* option : verb->get_options()) {
      for (const std::string& name : option->get_lnames()) one.options.push_back("--" + name);
      for (const std::string& name : option->get_snames()) one.options.push_back("-" + name);
      if (option->get_positional()) one.operands.push_back(option->get_name(true));
    }
  }
  return described;
}

}  // namespace chainfs::chainctl
