// SPDX-License-Identifier: Apache-2.0
//
// The rules of the sources that a machine can check: which folder may include what, how long files,
// functions and lines may be, and a few words that have no place here. A violation is printed as
// FILE:LINE: what.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/source_tree.h"

namespace chainfs {
namespace {

bool StartsWithAny(std::string_view text, const std::vector<std::string_view>& prefixes) {
  return std::ranges::any_of(prefixes,
                             [&](std::string_view prefix) { return text.starts_with(prefix); });
}

// Calls `visit` with every include: the name and whether it is one of ours.
using IncludeVisitor = std::function<void(const SourceFile&, size_t, const std::string&, bool)>;
void ForEachInclude(const IncludeVisitor& visit) {
  static const std::regex include(R"(^\s*#\s*include\s+([<"])([^>"]+)[>"])");
  for (const SourceFile& source : SourceFiles()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      std::smatch match;
      if (std::regex_search(source.lines[i], match, include)) {
        visit(source, i + 1, match[2], match[1] == "\"");
      }
    }
  }
}

// The floors of the house, from the ground up: a file may include what lies in its own folder and
// what its folder's rule names; the first rule that matches the file decides.
struct Rule {
  std::string_view folder;
  std::vector<std::string_view> allowed;
};

const std::vector<Rule>& DependencyRules() {
  static const std::vector<Rule> rules = {
      {"blocklayer/base/", {}},
      {"blocklayer/io/", {"blocklayer/base/"}},
      {"blocklayer/image/", {"blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/cache/", {"blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/raw/", {"blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/qcow2/",
       {"blocklayer/cache/", "blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/vdi/",
       {"blocklayer/cache/", "blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/vhdx/",
       {"blocklayer/cache/", "blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/vmdk/",
       {"blocklayer/cache/", "blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/vpc/",
       {"blocklayer/cache/", "blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/formats/registry/",
       {"blocklayer/formats/", "blocklayer/cache/", "blocklayer/image/", "blocklayer/io/",
        "blocklayer/base/"}},
      {"blocklayer/chain/",
       {"blocklayer/cache/", "blocklayer/image/", "blocklayer/io/", "blocklayer/base/"}},
      {"blocklayer/catalog/", {"blocklayer/"}},
      {"ctl/verbs/", {"blocklayer/base/"}},
      // The engine knows no kind of job, and no kind another; the rows of all are in jobs/ itself.
      {"jobs/engine/", {"ctl/verbs/", "blocklayer/"}},
      {"jobs/copy/", {"jobs/engine/", "ctl/verbs/", "blocklayer/"}},
      {"jobs/backup/", {"jobs/copy/", "jobs/engine/", "ctl/verbs/", "blocklayer/"}},
      {"jobs/commit/", {"jobs/copy/", "jobs/engine/", "ctl/verbs/", "blocklayer/"}},
      {"jobs/stream/", {"jobs/copy/", "jobs/engine/", "ctl/verbs/", "blocklayer/"}},
      {"jobs/rebase/", {"jobs/engine/", "ctl/verbs/", "blocklayer/"}},
      {"jobs/mirror/", {"jobs/copy/", "jobs/engine/", "ctl/verbs/", "blocklayer/"}},
      {"jobs/", {"jobs/", "ctl/verbs/", "blocklayer/"}},
      {"ctl/control/", {"ctl/verbs/", "jobs/", "blocklayer/"}},
      {"ctl/qmp/", {"ctl/control/", "ctl/verbs/", "jobs/", "blocklayer/"}},
      {"fusefs/sandbox/", {"blocklayer/base/"}},
      {"fusefs/", {"ctl/control/", "ctl/qmp/", "ctl/verbs/", "jobs/", "blocklayer/"}},
      // `create` and `amend` work on files that no daemon has open, so they link the format itself.
      {"ctl/chainctl/cmd_amend",
       {"ctl/verbs/", "ctl/chainctl/", "blocklayer/base/", "blocklayer/io/",
        "blocklayer/formats/qcow2/amend.h"}},
      {"ctl/chainctl/cmd_create",
       {"ctl/verbs/", "ctl/chainctl/", "blocklayer/base/", "blocklayer/io/", "blocklayer/image/",
        "blocklayer/formats/registry/", "blocklayer/formats/qcow2/create.h"}},
      // So does `check`, in a room of its own.
      {"ctl/check/",
       {"blocklayer/base/", "blocklayer/io/", "blocklayer/image/", "blocklayer/cache/",
        "blocklayer/formats/registry/"}},
      {"ctl/chainctl/cmd_check",
       {"ctl/check/", "ctl/verbs/", "ctl/chainctl/", "blocklayer/base/", "blocklayer/image/",
        "blocklayer/io/", "blocklayer/formats/registry/"}},
      {"ctl/chainctl/", {"ctl/verbs/", "blocklayer/base/"}},
      {"tests/", {"blocklayer/", "jobs/", "fusefs/", "ctl/"}},
  };
  return rules;
}

TEST(SourceRules, SourcesAreFound) {
  ASSERT_GT(SourceFiles().size(), 50U) << "CHAINFS_SOURCE_DIR?";
}

TEST(SourceRules, DependenciesPointOneWay) {
  ForEachInclude([](const SourceFile& source, size_t line, const std::string& name, bool ours) {
    if (!ours) return;
    for (const Rule& rule : DependencyRules()) {
      if (!source.In(rule.folder)) continue;
      if (!name.starts_with(rule.folder) && !StartsWithAny(name, rule.allowed)) {
        ReportLine(source, line, std::string(rule.folder) + " may not include " + name);
      }
      return;
    }
  });
}

// All of a format stays in its folder; others see its row in the registry.
TEST(SourceRules, FormatsAreKnownByTheRegistryAlone) {
  const std::string formats = "blocklayer/formats/";
  ForEachInclude([&](const SourceFile& source, size_t line, const std::string& name, bool) {
    if (!name.starts_with(formats) || name.starts_with(formats + "registry/")) return;
    const std::string folder = name.substr(0, name.find('/', formats.size()) + 1);
    if (StartsWithAny(source.path, {folder, "blocklayer/formats/registry/", "tests/"})) return;
    // They offer all that a qcow2 image can be.
    if (source.In("ctl/chainctl/cmd_create") && name == formats + "qcow2/create.h") return;
    if (source.In("ctl/chainctl/cmd_amend") && name == formats + "qcow2/amend.h") return;
    ReportLine(source, line, name + " is known to the registry of formats alone");
  });
}

TEST(SourceRules, LibrariesStayInTheirFolders) {
  struct Library {
    std::regex header;
    std::vector<std::string_view> folders;
  };
  const std::vector<Library> libraries = {
      {std::regex("^(fuse3/|fuse\\.h|fuse_|linux/fuse\\.h)"),
       {"fusefs/", "tests/bench/", "tests/unit/fusefs/", "tests/support/deaf_server"}},
      {std::regex("^(oneapi/)?tbb/"), {"jobs/", "tests/unit/jobs/"}},
      {std::regex("^nlohmann/"),
       {"blocklayer/catalog/record_format", "jobs/", "fusefs/", "ctl/", "tests/"}},
      {std::regex("^CLI/"), {"fusefs/", "ctl/", "tests/bench/"}},
      {std::regex("^(seccomp\\.h|sys/capability\\.h|linux/landlock\\.h)"),
       {"fusefs/sandbox/", "tests/unit/fusefs/"}},
      {std::regex("^(zlib|zstd|libdeflate)\\.h"),
       {"blocklayer/formats/qcow2/", "blocklayer/formats/vmdk/", "jobs/copy/", "tests/"}},
  };
  ForEachInclude([&](const SourceFile& source, size_t line, const std::string& name, bool ours) {
    if (ours && name.find("fuse") == std::string::npos) return;
    for (const Library& library : libraries) {
      if (std::regex_search(name, library.header) && !StartsWithAny(source.path, library.folders)) {
        ReportLine(source, line, name + " does not belong in this folder");
      }
    }
  });
}

// They cost every file that includes ours a second or more.
TEST(SourceRules, HeavyHeadersStayOutOfOurHeaders) {
  static const std::regex heavy("^(nlohmann/json\\.hpp|spdlog/|(oneapi/)?tbb/|CLI/)");
  ForEachInclude([](const SourceFile& source, size_t line, const std::string& name, bool) {
    // Headers of tests serve a file or two.
    if (source.IsHeader() && !source.In("tests/") && std::regex_search(name, heavy)) {
      ReportLine(source, line, name + " belongs in a .cc file");
    }
  });
}

TEST(SourceRules, EveryFileStartsWithItsLicenceAndSaysWhatItIs) {
  for (const SourceFile& source : SourceFiles()) {
    if (source.lines.empty() || source.lines[0] != "// SPDX-License-Identifier: Apache-2.0") {
      ReportLine(source, 1, "the first line is not the SPDX line");
    }
    if (!source.IsHeader()) continue;
    if (source.lines.size() < 3 || !source.lines[2].starts_with("// ")) {
      ReportLine(source, 3, "a header starts with a comment that says what it is");
    }
    if (std::ranges::find(source.lines, "#pragma once") == source.lines.end()) {
      ReportLine(source, 1, "no #pragma once");
    }
  }
}

TEST(SourceRules, FilesAreShort) {
  constexpr size_t kSoft = 500;
  for (const SourceFile& source : SourceFiles()) {
    const size_t cap = source.In("tests/") ? 1000 : 800;
    const size_t count = source.lines.size();
    if (count > cap) ReportLine(source, count, "longer than " + std::to_string(cap) + " lines");
    if (count > kSoft && count <= cap) {
      std::cout << "warning: " << source.path << " has " << count << " lines; time to split it\n";
    }
  }
}

// A function of a class body is indented and is not seen; those are short.
TEST(SourceRules, FunctionsAreShort) {
  constexpr size_t kCap = 70;
  for (const SourceFile& source : SourceFiles()) {
    size_t start = 0;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      const std::string& line = source.lines[i];
      if (line == "}" && i - start + 1 > kCap && !source.In("tests/")) {
        ReportLine(source, start + 1, "a function of " + std::to_string(i - start + 1) + " lines");
      }
      const bool starts = !line.empty() && std::isalpha(static_cast<unsigned char>(line[0])) != 0;
      if (starts) start = i;
    }
  }
}

TEST(SourceRules, LinesAreShort) {
  constexpr size_t kColumns = 100;
  for (const SourceFile& source : SourceFiles()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      if (ColumnsOf(source.lines[i]) > kColumns)
        ReportLine(source, i + 1, "longer than 100 columns");
    }
  }
}

TEST(SourceRules, LocksAreTheAnnotatedOnes) {
  static const std::regex plain(
      "std::(mutex|shared_mutex|recursive_mutex|timed_mutex|lock_guard|unique_lock|shared_lock|"
      "scoped_lock|condition_variable)\\b");
  for (const SourceFile& source : SourceFiles()) {
    if (source.path == "blocklayer/base/sync.h" || source.In("tests/tidy/")) continue;
    for (size_t i = 0; i < source.lines.size(); ++i) {
      const std::string code = source.lines[i].substr(0, source.lines[i].find("//"));
      if (std::regex_search(code, plain)) ReportLine(source, i + 1, "use blocklayer/base/sync.h");
    }
  }
}

TEST(SourceRules, NothingIsLeftForLater) {
  // In two parts, so that this file keeps its own rule.
  static const std::regex later(
      "\\b(TO"
      "DO|FIX"
      "ME|XX"
      "X)\\b");
  for (const SourceFile& source : SourceFiles()) {
    for (size_t i = 0; i < source.lines.size(); ++i) {
      if (std::regex_search(source.lines[i], later)) {
        ReportLine(source, i + 1, "do it, or say in the documentation what is not done");
      }
    }
  }
}

}  // namespace
}  // namespace chainfs
