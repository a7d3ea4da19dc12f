// SPDX-License-Identifier: Apache-2.0
//
// chainctl check on files that no daemon has open: its exit codes and lines, repairs, whole chains,
// and images that are in use.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class ChainctlCheck : public ::testing::Test {
 protected:
  CommandResult Check(std::vector<std::string> arguments) {
    const char* const folder = std::getenv("CHAINFS_BIN_DIR");
    arguments.insert(arguments.begin(),
                     {folder != nullptr ? std::string(folder) + "/chainctl" : "chainctl", "check"});
    return RunCommand(arguments, {.working_directory = dir_.path()});
  }
  void Run(std::vector<std::string> arguments) {
    const CommandResult result = RunCommand(arguments, {.working_directory = dir_.path()});
    ASSERT_TRUE(result.ok()) << result.Describe();
  }
  void Make(const std::string& name, std::vector<std::string> options = {}) {
    std::vector<std::string> arguments = {"qemu-img", "create", "-q", "-f", "qcow2"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.push_back(name);
    arguments.push_back("1M");
    Run(arguments);
    Run({"qemu-io", "-f", "qcow2", "-c", "write -P 7 0 256k", name});
  }
  // Refcounts of 16 bits, in the one block at 0x20000.
  void SetRefcount(const std::string& name, uint64_t cluster, char count) {
    std::fstream file(dir_ / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(0x20000 + cluster * 2 + 1));
    file.put(count);
  }

  TempDir dir_;
};

TEST_F(ChainctlCheck, EndsAsQemuImgCheck) {
  Make("a.qcow2");
  EXPECT_EQ(Check({"a.qcow2"}).exit_code, 0);
  SetRefcount("a.qcow2", 6, 2);
  SetRefcount("a.qcow2", 30, 1);               // past the end: QEMU does not look there
  EXPECT_EQ(Check({"a.qcow2"}).exit_code, 2);  // a flag that disagrees
  EXPECT_EQ(RunCommand({"qemu-img", "check", dir_ / "a.qcow2"}).exit_code, 2);
  Run({"qemu-io", "-f", "qcow2", "-c", "discard 0 64k", "a.qcow2"});
  Run({"qemu-img", "create", "-q", "-f", "raw", "a.raw", "1M"});
  EXPECT_EQ(Check({"a.raw"}).exit_code, 63);
  EXPECT_EQ(Check({"missing.qcow2"}).exit_code, 1);
  const CommandResult nameless = Check({"/etc/hostname"});
  EXPECT_EQ(nameless.exit_code, 1);
  EXPECT_NE(nameless.err.find("--format"), std::string::npos) << nameless.Describe();
}

TEST_F(ChainctlCheck, FreesLeaksAndRepairs) {
  Make("a.qcow2");
  Run({"qemu-io", "-f", "qcow2", "-c", "write -P 8 512k 64k", "-c", "discard 512k 64k", "a.qcow2"});
  SetRefcount("a.qcow2", 9, 1);
  const CommandResult leaks = Check({"a.qcow2"});
  EXPECT_EQ(leaks.exit_code, 3) << leaks.Describe();
  EXPECT_NE(leaks.out.find("1 leaked clusters"), std::string::npos) << leaks.Describe();
  EXPECT_EQ(Check({"--repair=leaks", "a.qcow2"}).exit_code, 0);
  SetRefcount("a.qcow2", 6, 0);
  EXPECT_EQ(Check({"a.qcow2"}).exit_code, 2);
  const CommandResult repaired = Check({"--repair=all", "--output=json", "a.qcow2"});
  EXPECT_EQ(repaired.exit_code, 0) << repaired.Describe();
  const nlohmann::json json = nlohmann::json::parse(repaired.out);
  EXPECT_EQ(json.at("corruptions"), 0);
  EXPECT_EQ(json.at("corruptions-fixed"), 2);
  EXPECT_EQ(json.at("format"), "qcow2");
  EXPECT_EQ(RunCommand({"qemu-img", "check", dir_ / "a.qcow2"}).exit_code, 0);
  Run({"qemu-io", "-f", "qcow2", "-c", "read -P 7 0 256k", "a.qcow2"});
}

TEST_F(ChainctlCheck, DirtyImagesAreRepairedOnlyWhenAsked) {
  Make("a.qcow2", {"-o", "lazy_refcounts=on"});
  {
    std::fstream file(dir_ / "a.qcow2", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(79);
    file.put(1);  // incompatible feature bit 0
  }
  SetRefcount("a.qcow2", 6, 0);
  const std::string before = ReadTextFile(dir_ / "a.qcow2");
  EXPECT_EQ(Check({"a.qcow2"}).exit_code, 2);
  EXPECT_EQ(ReadTextFile(dir_ / "a.qcow2"), before);
  EXPECT_EQ(Check({"--repair=leaks", "a.qcow2"}).exit_code, 0);
  const CommandResult info = RunCommand({"qemu-img", "info", "--output=json", dir_ / "a.qcow2"});
  EXPECT_FALSE(nlohmann::json::parse(info.out).at("dirty-flag").get<bool>());
}

TEST_F(ChainctlCheck, AnImageThatIsInUseIsNotChecked) {
  Make("a.qcow2");
  Command user({"qemu-io", "-f", "qcow2", dir_ / "a.qcow2"});
  ASSERT_TRUE(user.Write("read 0 512\n"));
  ASSERT_TRUE(user.WaitForOutput("read 512/512"));
  const CommandResult busy = Check({"a.qcow2"});
  EXPECT_EQ(busy.exit_code, 1) << busy.Describe();
  EXPECT_NE(busy.err.find("another process has it open"), std::string::npos) << busy.Describe();
  user.CloseInput();
  user.Wait();
  EXPECT_EQ(Check({"a.qcow2"}).exit_code, 0);
}

TEST_F(ChainctlCheck, AWholeChain) {
  Make("base.qcow2");
  Make("mid.qcow2", {"-b", "base.qcow2", "-F", "qcow2"});
  Make("top.qcow2", {"-b", "mid.qcow2", "-F", "qcow2"});
  const CommandResult sound = Check({"--backing-chain", "--json", "top.qcow2"});
  EXPECT_EQ(sound.exit_code, 0) << sound.Describe();
  EXPECT_EQ(nlohmann::json::parse(sound.out).size(), 3U);
  SetRefcount("base.qcow2", 6, 0);
  EXPECT_EQ(Check({"top.qcow2"}).exit_code, 0);
  EXPECT_EQ(Check({"--backing-chain", "top.qcow2"}).exit_code, 2);
  // Only the image that was named is repaired.
  EXPECT_EQ(Check({"--backing-chain", "--repair=all", "top.qcow2"}).exit_code, 2);
  EXPECT_EQ(Check({"--repair=all", "base.qcow2"}).exit_code, 0);
}

TEST_F(ChainctlCheck, BrokenChainsGetALineEach) {
  const auto line = [&](const std::string& image, int exit_code, std::string_view text) {
    const CommandResult result = Check({"--backing-chain", image});
    EXPECT_EQ(result.exit_code, exit_code) << result.Describe();
    EXPECT_NE((result.out + result.err).find(text), std::string::npos) << result.Describe();
  };
  Make("base.qcow2");
  Make("loop.qcow2", {"-b", "base.qcow2", "-F", "qcow2"});
  Run({"qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "loop.qcow2", "-F", "qcow2", "base.qcow2"});
  line("loop.qcow2", 2, "the chain is a loop");
  Make("lost.qcow2");
  Run({"qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2", "lost.qcow2"});
  line("lost.qcow2", 1, "gone.qcow2");
  Run({"qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "nbd:unix:/x", "-F", "raw", "lost.qcow2"});
  line("lost.qcow2", 2, "not named as a plain file");
  Make("wrong.qcow2");
  Make("plain.qcow2");
  Run({"qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "plain.qcow2", "-F", "raw", "wrong.qcow2"});
  line("wrong.qcow2", 2, "begins like qcow2");
  Run({"qemu-img", "create", "-q", "-f", "raw", "small.raw", "64k"});
  Run({"qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "small.raw", "-F", "raw", "plain.qcow2"});
  line("plain.qcow2", 0, "fewer than the layer above");
}

}  // namespace
}  // namespace chainfs
