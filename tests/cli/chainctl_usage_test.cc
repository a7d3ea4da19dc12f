// SPDX-License-Identifier: Apache-2.0
//
// chainctl without any mount: help, usage errors (exit 2), files that are not ours (exit 6), and
// `create`. Errors are one line that begins with the program's name.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

CommandResult Chainctl(std::vector<std::string> arguments) {
  const char* const folder = std::getenv("CHAINFS_BIN_DIR");
  arguments.insert(arguments.begin(),
                   folder != nullptr ? std::string(folder) + "/chainctl" : "chainctl");
  return RunCommand(arguments);
}

void ExpectOneLineError(const CommandResult& result, int exit_code) {
  EXPECT_EQ(result.exit_code, exit_code) << result.Describe();
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("chainctl: ")) << result.Describe();
  EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.Describe();
  EXPECT_TRUE(result.err.ends_with("\n")) << result.Describe();
}

const std::vector<std::string> kVerbs = {
    "list",   "info",   "chain",  "map",      "stream",  "snapshot",   "jobs",   "wait",
    "cancel", "pause",  "resume", "speed",    "dismiss", "flush",      "events", "create",
    "umount", "layers", "revert", "complete", "change",  "max-layers", "mirror", "trace"};

TEST(ChainctlUsageTest, HelpListsEveryVerb) {
  const CommandResult result = Chainctl({"--help"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  for (const std::string& verb : kVerbs) {
    EXPECT_NE(result.out.find("\n  " + verb + " "), std::string::npos) << verb;
  }
}

TEST(ChainctlUsageTest, EveryVerbHasHelp) {
  for (const std::string& verb : kVerbs) {
    const CommandResult result = Chainctl({verb, "--help"});
    EXPECT_EQ(result.exit_code, 0) << result.Describe();
    EXPECT_NE(result.out.find("--json"), std::string::npos) << verb;
  }
}

TEST(ChainctlUsageTest, Version) {
  const CommandResult result = Chainctl({"--version"});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_TRUE(result.out.starts_with("chainctl ")) << result.out;
}

// The build's look at the commit, in a source tree of its own.
class VersionFile {
 public:
  std::string Write() const {
    const char* const source = std::getenv("CHAINFS_SOURCE_DIR");
    const CommandResult written = RunCommand({"cmake", "-DVERSION=9.8.7",
                                              "-DSOURCE=" + tree_.path(), "-DOUTPUT=" + file_, "-P",
                                              std::string(source != nullptr ? source : ".") +
                                                  "/blocklayer/base/version/write_version.cmake"});
    EXPECT_TRUE(written.ok()) << written.Describe();
    return ReadTextFile(file_);
  }
  std::string Git(std::vector<std::string> words) const {
    words.insert(words.begin(), {"git", "-C", tree_.path(), "-c", "user.name=t", "-c",
                                 "user.email=t@example.org", "-c", "commit.gpgsign=false"});
    const CommandResult result = RunCommand(words);
    EXPECT_TRUE(result.ok()) << result.Describe();
    return result.out;
  }
  std::string operator/(const std::string& name) const { return tree_ / name; }
  time_t Written() const {
    struct stat st = {};
    EXPECT_EQ(::stat(file_.c_str(), &st), 0);
    return st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec;
  }

 private:
  const TempDir tree_;
  const TempDir out_;
  const std::string file_ = out_ / "version.cc";
};

TEST(ChainctlUsageTest, TheVersionTellsTheCommit) {
  const VersionFile version;
  EXPECT_NE(version.Write().find("\"9.8.7\""), std::string::npos) << "not a git work tree";
  WriteTextFile(version / "file", "one");
  version.Git({"init", "-q"});
  version.Git({"add", "file"});
  version.Git({"commit", "-q", "-m", "first"});
  const std::string commit = version.Git({"rev-parse", "--short=12", "HEAD"}).substr(0, 12);
  EXPECT_NE(version.Write().find("\"9.8.7 (commit " + commit + ")\""), std::string::npos);
  // What has not changed is not written, or every build would compile and link it.
  const time_t written = version.Written();
  version.Write();
  EXPECT_EQ(version.Written(), written);
  WriteTextFile(version / "file", "two");
  EXPECT_NE(version.Write().find("(commit " + commit + "-dirty)"), std::string::npos);
}

TEST(ChainctlUsageTest, UsageErrorsExitTwo) {
  ExpectOneLineError(Chainctl({}), 2);
  ExpectOneLineError(Chainctl({"frobnicate"}), 2);
  ExpectOneLineError(Chainctl({"list", "--no-such-option"}), 2);
  ExpectOneLineError(Chainctl({"info"}), 2);
  ExpectOneLineError(Chainctl({"info", "a", "b"}), 2);
  ExpectOneLineError(Chainctl({"stream", "/dev/null", "--timeout", "soon"}), 2);
  ExpectOneLineError(Chainctl({"stream", "/dev/null", "--on-error", "panic"}), 2);
  ExpectOneLineError(Chainctl({"stream", "/dev/null", "--speed", "fast"}), 2);
  ExpectOneLineError(Chainctl({"stream", "/dev/null", "--id", "7up"}), 2);
  ExpectOneLineError(Chainctl({"speed", "/dev/null", "j1", "fast"}), 2);
  ExpectOneLineError(Chainctl({"snapshot", "/dev/null", "-o", "cluster_size"}), 2);
}

TEST(ChainctlUsageTest, TheUnknownOptionIsNamed) {
  const CommandResult result = Chainctl({"list", "--frob"});
  EXPECT_NE(result.err.find("--frob"), std::string::npos) << result.Describe();
}

TEST(ChainctlUsageTest, TheNearestVerbIsOffered) {
  EXPECT_EQ(Chainctl({"foo"}).err, "chainctl: unknown command 'foo'; see `chainctl --help`\n");
  EXPECT_EQ(Chainctl({"unmount", "/mnt"}).err,
            "chainctl: unknown command 'unmount', did you mean 'umount'? see `chainctl --help`\n");
  ExpectOneLineError(Chainctl({"unmount", "/mnt"}), 2);
  ExpectOneLineError(Chainctl({"\x1b[2J"}), 2);
}

// An option that does nothing is not offered.
TEST(ChainctlUsageTest, VerboseOnlyWhereThereIsACommandToPrint) {
  for (const std::string& verb : kVerbs) {
    const bool sends = verb == "stream" || verb == "snapshot" || verb == "flush" ||
                       verb == "cancel" || verb == "pause" || verb == "resume" ||
                       verb == "dismiss" || verb == "speed" || verb == "revert" ||
                       verb == "complete" || verb == "change" || verb == "max-layers" ||
                       verb == "mirror" || verb == "trace";
    const CommandResult help = Chainctl({verb, "--help"});
    EXPECT_EQ(help.out.find("--verbose") != std::string::npos, sends) << verb;
  }
  ExpectOneLineError(Chainctl({"list", "-v"}), 2);
}

TEST(ChainctlUsageTest, HelpIsPlainEnglish) {
  for (const std::string& verb : kVerbs) {
    const std::string help = Chainctl({verb, "--help"}).out;
    for (const std::string word : {"a second", "a layer\n", ", as ", "(1x)", "concluded"}) {
      EXPECT_EQ(help.find(word), std::string::npos) << help;
    }
  }
  EXPECT_NE(Chainctl({"speed", "--help"}).out.find("DISK [ID] LIMIT"), std::string::npos);
}

TEST(ChainctlUsageTest, FilesThatAreNotOursExitSix) {
  const TempDir dir;
  const std::string file = dir / "plain.raw";
  WriteTextFile(file, "not a mounted disk");
  for (const std::string& path :
       {file, dir / "missing.raw", dir.path(), file + "/below", std::string("/proc/self/status")}) {
    for (const std::string verb : {"info", "chain", "map", "stream", "snapshot", "wait", "cancel",
                                   "pause", "resume", "dismiss", "flush"}) {
      SCOPED_TRACE(verb + " " + path);
      ExpectOneLineError(Chainctl({verb, path}), 6);
    }
    ExpectOneLineError(Chainctl({"speed", path, "1M"}), 6);
    ExpectOneLineError(Chainctl({"list", path}), 6);
    ExpectOneLineError(Chainctl({"jobs", path}), 6);
    ExpectOneLineError(Chainctl({"events", path}), 6);
    ExpectOneLineError(Chainctl({"umount", path}), 6);
  }
}

TEST(ChainctlUsageTest, PathsInMessagesAreAsTyped) {
  const CommandResult result = Chainctl({"info", "/nowhere/vm1.raw"});
  EXPECT_TRUE(result.err.starts_with("chainctl: info: /nowhere/vm1.raw: ")) << result.err;
}

TEST(ChainctlCreateTest, MakesWhatQemuImgReads) {
  const TempDir dir;
  const std::string base = dir / "base.qcow2";
  const std::string top = dir / "top.qcow2";
  const CommandResult made = Chainctl(
      {"create", base, "--size", "3M", "-o", "cluster_size=128k,lazy_refcounts=on", "--json"});
  ASSERT_EQ(made.exit_code, 0) << made.Describe();
  EXPECT_EQ(nlohmann::json::parse(made.out)["virtual-size"], 3 << 20);
  ASSERT_EQ(
      Chainctl({"create", top, "--backing", "base.qcow2", "--backing-format", "qcow2"}).exit_code,
      0);
  const CommandResult info = RunCommand({"qemu-img", "info", "--output=json", top});
  ASSERT_EQ(info.exit_code, 0) << info.Describe();
  const auto json = nlohmann::json::parse(info.out);
  EXPECT_EQ(json["virtual-size"], 3 << 20);
  EXPECT_EQ(json["backing-filename"], "base.qcow2");
  EXPECT_EQ(json["backing-filename-format"], "qcow2");
  for (const std::string& image : {base, top}) {
    const CommandResult check = RunCommand({"qemu-img", "check", image});
    EXPECT_EQ(check.exit_code, 0) << check.Describe();
  }
}

TEST(ChainctlCreateTest, Preallocates) {
  const TempDir dir;
  const std::string image = dir / "a.qcow2";
  for (const std::string how : {"off", "metadata", "falloc", "full"}) {
    const CommandResult made =
        Chainctl({"create", image, "--size", "3M", "-o", "preallocation=" + how});
    ASSERT_EQ(made.exit_code, 0) << made.Describe();
    const CommandResult check = RunCommand({"qemu-img", "check", "--output=json", image});
    ASSERT_EQ(check.exit_code, 0) << check.Describe();
    EXPECT_EQ(nlohmann::json::parse(check.out).value("allocated-clusters", 0),
              how == "off" ? 0 : 48);
    EXPECT_EQ(RunCommand({"rm", image}).exit_code, 0);
  }
  ExpectOneLineError(Chainctl({"create", image, "--size", "3M", "-o", "preallocation=some"}), 2);
}

TEST(ChainctlCreateTest, AnOverlayHasSubclustersLikeItsBacking) {
  const TempDir dir;
  const auto has = [&](const std::vector<std::string>& options) {
    std::vector<std::string> command = {"create", dir / "top.qcow2"};
    command.insert(command.end(), options.begin(), options.end());
    const CommandResult made = Chainctl(command);
    EXPECT_EQ(made.exit_code, 0) << made.Describe();
    const CommandResult info = RunCommand({"qemu-img", "info", "--output=json", dir / "top.qcow2"});
    EXPECT_EQ(RunCommand({"rm", dir / "top.qcow2"}).exit_code, 0);
    return info.out.contains("\"extended-l2\": true");
  };
  EXPECT_FALSE(has({"--size", "1M"}));
  EXPECT_TRUE(has({"--size", "1M", "-o", "extended_l2=on"}));
  const std::string divided = dir / "divided.qcow2";
  ASSERT_EQ(RunCommand({"qemu-img", "create", "-f", "qcow2", "-o", "extended_l2=on", divided, "1M"})
                .exit_code,
            0);
  const std::vector<std::string> backed = {"--backing", divided, "--backing-format", "qcow2"};
  const auto with = [&](const std::string& format) {
    std::vector<std::string> options = backed;
    options.insert(options.end(), {"-o", format});
    return options;
  };
  EXPECT_TRUE(has(backed));
  EXPECT_FALSE(has(with("extended_l2=off")));
  EXPECT_FALSE(has(with("cluster_size=4k"))) << "such clusters cannot be divided";
  EXPECT_FALSE(has(with("compat=0.10")));
}

TEST(ChainctlAmendTest, ChangesWhatCanBeChanged) {
  const TempDir dir;
  const std::string image = dir / "a.qcow2";
  ASSERT_EQ(Chainctl({"create", image, "--size", "3M", "-o", "compat=0.10"}).exit_code, 0);
  const CommandResult amended = Chainctl({"amend", "-o", "compat=1.1,lazy_refcounts=on", image});
  ASSERT_EQ(amended.exit_code, 0) << amended.Describe();
  const CommandResult info = RunCommand({"qemu-img", "info", "--output=json", image});
  EXPECT_TRUE(info.out.contains("\"compat\": \"1.1\"")) << info.out;
  EXPECT_TRUE(info.out.contains("\"lazy-refcounts\": true")) << info.out;
  EXPECT_EQ(RunCommand({"qemu-img", "check", image}).exit_code, 0);
  ExpectOneLineError(Chainctl({"amend", image}), 2);
  ExpectOneLineError(Chainctl({"amend", image, "-o", "cluster_size=4k"}), 2);
  WriteTextFile(dir / "b.raw", std::string(4096, 'x'));
  ExpectOneLineError(Chainctl({"amend", dir / "b.raw", "-o", "compat=1.1"}), 1);
  ExpectOneLineError(Chainctl({"amend", dir / "none.qcow2", "-o", "compat=1.1"}), 1);
}

TEST(ChainctlCreateTest, RawBackingGivesItsSize) {
  const TempDir dir;
  WriteTextFile(dir / "base.raw", std::string(65536, 'x'));
  const CommandResult made = Chainctl({"create", dir / "top.qcow2", "--backing", dir / "base.raw",
                                       "--backing-format", "raw", "--json"});
  ASSERT_EQ(made.exit_code, 0) << made.Describe();
  EXPECT_EQ(nlohmann::json::parse(made.out)["virtual-size"], 65536);
}

TEST(ChainctlCreateTest, Refusals) {
  const TempDir dir;
  const std::string image = dir / "a.qcow2";
  ExpectOneLineError(Chainctl({"create", image}), 2);
  ExpectOneLineError(Chainctl({"create", image, "--size", "1Q"}), 2);
  ExpectOneLineError(Chainctl({"create", image, "--size", "1M", "-o", "colour=red"}), 2);
  ExpectOneLineError(Chainctl({"create", image, "--size", "1M", "-o", "cluster_size=65000"}), 2);
  ExpectOneLineError(
      Chainctl({"create", image, "--size", "1M", "-o", "extended_l2=on,cluster_size=8k"}), 2);
  ExpectOneLineError(Chainctl({"create", image, "--size", "1M", "--backing", "b"}), 2);
  ExpectOneLineError(Chainctl({"create", image, "--size", "1M", "--backing-format", "raw"}), 2);
  ExpectOneLineError(
      Chainctl({"create", image, "--backing", "missing.raw", "--backing-format", "raw"}), 1);
  ExpectOneLineError(Chainctl({"create", dir / "no/such/dir.qcow2", "--size", "1M"}), 1);
  EXPECT_EQ(RunCommand({"ls", "-A", dir.path()}).out, "");
  WriteTextFile(image, "precious");
  ExpectOneLineError(Chainctl({"create", image, "--size", "1M"}), 5);
  EXPECT_EQ(ReadTextFile(image), "precious");
}

}  // namespace
}  // namespace chainfs
