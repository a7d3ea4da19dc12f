// SPDX-License-Identifier: Apache-2.0
//
// The pages of the manual say all that the tables say, in the same words, and nothing else: every
// verb, key, option, attribute, file, event and exit code. And they can be formatted.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "ctl/chainctl/cli.h"
#include "ctl/chainctl/verb_rows.h"
#include "ctl/verbs/mount_options.h"
#include "ctl/verbs/status_table.h"
#include "fusefs/options.h"
#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Names = std::set<std::string>;

std::string SourcePath(const std::string& name) {
  const char* const top = std::getenv("CHAINFS_SOURCE_DIR");
  return (top != nullptr ? std::string(top) : ".") + "/" + name;
}

std::string Page(const std::string& name) {
  return ReadTextFile(SourcePath("packaging/man/" + name + ".scd"));
}

// What a heading such as "# EXAMPLES" stands over, up to the next of its kind.
std::string Section(const std::string& page, const std::string& heading) {
  const size_t begin = page.find("\n" + heading + "\n");
  if (begin == std::string::npos) {
    ADD_FAILURE() << "no section " << heading;
    return "";
  }
  const size_t body = begin + heading.size() + 2;
  const std::string next = "\n" + heading.substr(0, heading.find(' ') + 1);
  const size_t end = std::min(page.find(next, body - 1), page.find("\n# ", body - 1));
  return page.substr(body, end == std::string::npos ? end : end - body);
}

// The terms of a list, without marks of type, and what is said of each, on one line.
std::map<std::string, std::string> Terms(const std::string& text) {
  static const std::regex item("(?:^|\n)(\\*[^\n]+)\n((?:\t[^\n]*\n?)+)");
  std::map<std::string, std::string> terms;
  for (std::sregex_iterator at(text.begin(), text.end(), item), end; at != end; ++at) {
    std::string said = std::regex_replace((*at)[2].str(), std::regex("[ \t\n]+"), " ");
    terms[(*at)[1]] = said.substr(1, said.size() - (said.ends_with(' ') ? 2 : 1));
  }
  return terms;
}

// "*index_memory=*_SIZE_" -> "index_memory".
std::string NameIn(const std::string& term) {
  const size_t end = term.find_first_of("*=", 1);
  return term.substr(1, end - 1);
}

Names NamesOf(const std::map<std::string, std::string>& terms) {
  Names names;
  for (const auto& [term, said] : terms) names.insert(NameIn(term));
  return names;
}

std::string SaidOf(const std::map<std::string, std::string>& terms, const std::string& name) {
  for (const auto& [term, said] : terms) {
    if (NameIn(term) == name) return said;
  }
  return "";
}

Names Matches(const std::string& text, const std::string& pattern) {
  Names names;
  const std::regex expression(pattern);
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) {
    names.insert((*at)[1]);
  }
  return names;
}

std::string Sentence(std::string_view help, std::string_view otherwise) {
  return otherwise.empty() ? fmt::format("{}", help)
                           : fmt::format("{} (default: {}).", help, otherwise);
}

void ExpectKeys(const std::string& text, std::span<const verbs::Key> keys) {
  const auto terms = Terms(text);
  Names names;
  for (const verbs::Key& key : keys) {
    const std::string name(key.name);
    names.insert(name);
    EXPECT_TRUE(SaidOf(terms, name).contains(Sentence(key.help, key.otherwise)))
        << name << ": " << SaidOf(terms, name);
    EXPECT_TRUE(terms.contains(fmt::format("*{}=*_{}_", name, verbs::ValueName(key)))) << name;
    EXPECT_EQ(SaidOf(terms, name).contains("(required)"), key.required) << name;
  }
  EXPECT_EQ(NamesOf(terms), names);
}

TEST(ManualTest, EveryCommandAndItsKeys) {
  const std::string commands = Section(Page("chainfs-xattrs.7"), "# COMMANDS");
  Names verbs;
  for (const verbs::Verb& verb : verbs::Verbs()) {
    SCOPED_TRACE(verb.name);
    verbs.insert(std::string(verb.name));
    const std::string text = Section("\n" + commands, fmt::format("## {}", verb.name));
    EXPECT_TRUE(text.contains(verb.help));
    const char* const place = verb.scope == verbs::Scope::kDisk ? "On a disk. "
                              : verb.scope == verbs::Scope::kMount
                                  ? "On the mount point. "
                                  : "On a disk or the mount point. ";
    EXPECT_TRUE(text.contains(place));
    ExpectKeys(text, verb.keys);
  }
  EXPECT_EQ(Matches(commands, "## ([a-z-]+)"), verbs);
}

TEST(ManualTest, EveryAttributeFileAndEvent) {
  const std::string page = Page("chainfs-xattrs.7");
  const auto status = Terms(Section(page, "# STATUS"));
  Names names;
  for (const verbs::StatusAttribute& attribute : verbs::StatusAttributes()) {
    const std::string name = fmt::format("user.chainfs.{}", attribute.name);
    names.insert(name);
    EXPECT_TRUE(SaidOf(status, name).starts_with(attribute.help)) << name;
    const char* const place = attribute.scope == verbs::Scope::kDisk    ? "(disk)"
                              : attribute.scope == verbs::Scope::kMount ? "(mount point)"
                                                                        : "(both)";
    EXPECT_TRUE(SaidOf(status, name).contains(place)) << name;
  }
  EXPECT_EQ(NamesOf(status), names);

  const auto files = Terms(Section(page, "# FILES"));
  names.clear();
  for (const verbs::StatusFile& file : verbs::StatusFiles()) {
    const std::string name = fmt::format("MOUNTPOINT/.chainfs/{}", file.name);
    names.insert(name);
    EXPECT_TRUE(SaidOf(files, name).starts_with(file.help)) << name;
  }
  EXPECT_EQ(NamesOf(files), names);

  const auto events = Terms(Section(page, "# EVENTS"));
  names.clear();
  for (const verbs::Event& event : verbs::Events()) {
    names.insert(std::string(event.name));
    EXPECT_TRUE(SaidOf(events, std::string(event.name)).starts_with(event.help)) << event.name;
  }
  EXPECT_EQ(NamesOf(events), names);
}

// The names that the daemon's sources publish are those of the table.
TEST(ManualTest, EventsAreThoseThatAreSent) {
  const CommandResult found =
      RunCommand({"grep", "-rhoE", "--include=*.cc",
                  "\"(((BLOCK|JOB|CHAIN|DISK|TRACE)_[A-Z_]+)|SHUTDOWN|LOST)\"", SourcePath("jobs"),
                  SourcePath("ctl/control"), SourcePath("fusefs")});
  // The name of LOST stands within a line of JSON.
  Names sent = Matches(found.out, "\"([A-Z_]+)\"");
  sent.insert("LOST");
  Names known;
  for (const verbs::Event& event : verbs::Events()) known.insert(std::string(event.name));
  EXPECT_EQ(sent, known);
}

TEST(ManualTest, EveryMountOption) {
  const std::string page = Page("chainfs.8");
  const auto terms = Terms(Section(page, "# MOUNT OPTIONS"));
  Names ours;
  Names others;
  for (const verbs::MountOption& option : verbs::MountOptions()) {
    const std::string name(option.name);
    if (option.meant_for != verbs::OptionFor::kDaemon) {
      others.insert(name);
      continue;
    }
    ours.insert(name);
    EXPECT_TRUE(SaidOf(terms, name).contains(Sentence(option.help, option.otherwise))) << name;
    EXPECT_TRUE(terms.contains(option.value_name.empty()
                                   ? fmt::format("*{}*", name)
                                   : fmt::format("*{}=*_{}_", name, option.value_name)))
        << name;
  }
  EXPECT_EQ(NamesOf(terms), ours);
  EXPECT_EQ(Matches(Section(page, "# OTHER MOUNT OPTIONS"), R"(\*\\?([a-z_]+)\*)"), others);
}

TEST(ManualTest, EveryOptionOfTheDaemon) {
  const std::string help = fusefs::ParseOptions({"--help"}, "/")->print_and_exit;
  const std::string options = Section(Page("chainfs.8"), "# OPTIONS");
  const std::string offered = help.substr(0, help.find("\nSOURCE is"));
  const std::string pattern = R"((?:^|[\s,*])(--?[a-zA-Z][a-z-]*))";
  Names listed;
  for (const auto& [term, said] : Terms(options)) listed.merge(Matches(term, pattern));
  EXPECT_EQ(listed, Matches(offered.substr(offered.find("Options:")),
                            R"((?:^|[ \n,])(--?[a-zA-Z][a-z-]*)(?=[, ]))"));
}

TEST(ManualTest, EveryCommandOfChainctl) {
  const std::string page = Page("chainctl.1");
  const auto terms = Terms(Section(page, "# COMMANDS"));
  const auto common = Terms(Section(page, "# OPTIONS"));
  Names explained;
  for (const auto& [term, said] : common) explained.merge(Matches(term, R"(\*(--?[a-z_-]+)\*)"));
  const std::vector<chainctl::VerbRow> rows = chainctl::VerbRows();
  Names names;
  for (const chainctl::DescribedVerb& verb : chainctl::DescribeVerbs(rows)) {
    SCOPED_TRACE(verb.name);
    names.insert(verb.name);
    const auto term = std::ranges::find_if(
        terms, [&](const auto& item) { return NameIn(item.first) == verb.name; });
    ASSERT_NE(term, terms.end());
    Names shown = Matches(term->first, R"(\*(--?[a-z_-]+)\*)");
    // What all commands have is not repeated.
    Names offered;
    for (const std::string& option : verb.options) {
      if (Names{"--json", "-q", "--quiet", "-v", "--verbose", "-h", "--help"}.contains(option)) {
        EXPECT_TRUE(explained.contains(option)) << option;
      } else {
        offered.insert(option);
      }
    }
    EXPECT_EQ(shown, offered);
    for (const std::string& operand : verb.operands) {
      EXPECT_TRUE(term->first.contains("_" + operand + "_")) << operand;
    }
  }
  EXPECT_EQ(NamesOf(terms), names);
  ExpectKeys(Section(page, "# FORMAT OPTIONS"), verbs::FormatKeys());
}

TEST(ManualTest, EveryExitCode) {
  const auto terms = Terms(Section(Page("chainctl.1"), "# EXIT STATUS"));
  EXPECT_EQ(terms.size(), chainctl::ExitCodes().size());
  for (const chainctl::ExitCodeRow& row : chainctl::ExitCodes()) {
    std::string sentence = std::string(row.help) + ".";
    sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
    EXPECT_EQ(SaidOf(terms, std::to_string(static_cast<int>(row.code))), sentence);
  }
}

TEST(ManualTest, TheTableOfVerbsInTheReadme) {
  std::string table;
  for (const verbs::Verb& verb : verbs::Verbs()) {
    std::string keys;
    for (const verbs::Key& key : verb.keys) {
      if (!keys.empty()) keys += ", ";
      keys += fmt::format(key.required ? fmt::runtime("**`{}`**") : fmt::runtime("`{}`"), key.name);
    }
    const char* const place = verb.scope == verbs::Scope::kDisk    ? "disk"
                              : verb.scope == verbs::Scope::kMount ? "mount"
                                                                   : "disk, mount";
    table +=
        fmt::format("| `{}` | {} | {} | {} | {} |\n", verb.name, place, keys,
                    verb.dry_run == verbs::DryRun::kChecks ? "checks" : "estimates", verb.help);
  }
  EXPECT_TRUE(ReadTextFile(SourcePath("ctl/verbs/README.md")).contains(table)) << table;
}

TEST(ManualTest, PagesCanBeFormatted) {
  if (!RunCommand({"which", "scdoc"}).ok()) GTEST_SKIP() << "scdoc is missing";
  const bool lint = RunCommand({"which", "mandoc"}).ok();
  const TempDir dir;
  for (const std::string name : {"chainfs.8", "chainctl.1", "chainfs-xattrs.7"}) {
    SCOPED_TRACE(name);
    const std::string text = Page(name);
    // People look for an example first.
    EXPECT_LT(text.find("\n# SYNOPSIS\n"), text.find("\n# EXAMPLES\n"));
    EXPECT_LT(text.find("\n# EXAMPLES\n"), text.find("\n# DESCRIPTION\n"));
    const CommandResult made =
        RunCommand({"sh", "-c",
                    fmt::format("scdoc <'{}' >'{}'", SourcePath("packaging/man/" + name + ".scd"),
                                dir / name)});
    EXPECT_TRUE(made.ok()) << made.Describe();
    EXPECT_EQ(made.err, "");
    if (!lint) continue;
    // scdoc itself writes empty paragraphs.
    const CommandResult checked = RunCommand({"mandoc", "-T", "lint", "-W", "warning", dir / name});
    EXPECT_EQ(std::regex_replace(checked.out + checked.err,
                                 std::regex("[^\n]*skipping paragraph macro[^\n]*\n"), ""),
              "");
    EXPECT_TRUE(RunCommand({"mandoc", "-T", "html", dir / name}).out.contains("#SEE_ALSO"));
  }
}

}  // namespace
}  // namespace chainfs
