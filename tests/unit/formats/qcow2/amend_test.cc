// SPDX-License-Identifier: Apache-2.0
//
// Images whose options are changed: what qemu-img says of them before and after, and at any moment
// between.
#include "blocklayer/formats/qcow2/amend.h"

#include <gtest/gtest.h>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs::qcow2 {
namespace {

class AmendTest : public testing::Test {
 protected:
  std::string Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_.path()});
    EXPECT_TRUE(result.ok()) << result.Describe();
    return result.out;
  }
  // 2 MiB with data, holes and zeros; what it shows is in shown.raw.
  void Make(const std::string& options, bool backing) {
    std::vector<std::string> command = {"qemu-img", "create", "-q", "-f", "qcow2", "-o", options};
    if (backing) {
      Run({"qemu-img", "create", "-q", "-f", "raw", "base.raw", "2M"});
      Run({"qemu-io", "-f", "raw", "base.raw", "-c", "write -q -P 7 0 2M"});
      command.insert(command.end(), {"-b", "base.raw", "-F", "raw"});
    }
    command.insert(command.end(), {"a.qcow2", std::to_string((2 << 20) - 512)});
    Run(command);
    Run({"qemu-io", "-f", "qcow2", "a.qcow2", "-c", "write -q -P 3 0 200k", "-c",
         "write -q -z 64k 64k", "-c", "write -q -z 1M 512k", "-c", "write -q -P 4 1900k 20k", "-c",
         "write -q -z 1984k 65024"});
    Run({"qemu-img", "convert", "-O", "raw", "a.qcow2", "shown.raw"});
  }
  Status Amend(const Qcow2AmendOptions& options) {
    CHAINFS_ASSIGN(const auto directory, OpenPosixDirectory(dir_.path()));
    CHAINFS_ASSIGN(auto file, directory->Open("a.qcow2", OpenMode::kReadWrite));
    CHAINFS_TRY(file->SetImageLocks(kActiveLayerLocks));
    return AmendQcow2(std::move(file), cache_, options);
  }
  void ExpectShownAs(const std::string& compat) {
    Run({"qemu-img", "check", "-f", "qcow2", "a.qcow2"});
    Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", "a.qcow2", "shown.raw"});
    const std::string info = Run({"qemu-img", "info", "--output=json", "a.qcow2"});
    EXPECT_TRUE(info.contains("\"compat\": \"" + compat + "\"")) << info;
  }

  const TempDir dir_;
  MetadataCache cache_{1 << 20};
};

TEST_F(AmendTest, QemuSeesTheSameInTheOtherVersion) {
  for (const bool backing : {false, true}) {
    for (const std::string options :
         {"compat=0.10", "compat=0.10,cluster_size=512", "compat=1.1", "compat=1.1,cluster_size=4k",
          "compat=1.1,cluster_size=512", "compat=1.1,lazy_refcounts=on,cluster_size=2M",
          "compat=1.1,preallocation=metadata"}) {
      if (backing && options.contains("preallocation")) continue;
      SCOPED_TRACE(options + (backing ? " backed" : ""));
      Make(options, backing);
      const uint32_t version = options.contains("0.10") ? 2 : 3;
      for (const uint32_t to : {5 - version, version, version, 5 - version}) {
        const Status amended = Amend({.version = to});
        ASSERT_TRUE(amended) << amended.error().message;
        ExpectShownAs(to == 3 ? "1.1" : "0.10");
      }
      // And goes on to be written by QEMU.
      const std::string write = "write -q -P 9 700k 90k";
      Run({"qemu-io", "-f", "qcow2", "a.qcow2", "-c", write});
      Run({"qemu-io", "-f", "raw", "shown.raw", "-c", write});
      ExpectShownAs(version == 3 ? "0.10" : "1.1");
      if (HasFailure()) return;
    }
  }
}

TEST_F(AmendTest, LazyRefcountsComeAndGo) {
  Make("compat=1.1", true);
  for (const bool lazy : {true, true, false}) {
    ASSERT_TRUE(Amend({.lazy_refcounts = lazy}));
    ExpectShownAs("1.1");
    const std::string info = Run({"qemu-img", "info", "--output=json", "a.qcow2"});
    EXPECT_EQ(info.contains("\"lazy-refcounts\": true"), lazy) << info;
  }
  EXPECT_EQ(Amend({.version = 2, .lazy_refcounts = true}).error().kind,
            ErrorKind::kInvalidArgument);
  ExpectShownAs("1.1");
  ASSERT_TRUE(Amend({.lazy_refcounts = true}));
  ASSERT_TRUE(Amend({.version = 2})) << "which has none";
  ASSERT_TRUE(Amend({.version = 3, .lazy_refcounts = true}));
  ExpectShownAs("1.1");
}

TEST_F(AmendTest, WhatVersion2CannotSayIsNamedAndLeftAlone) {
  for (const auto& [options, says] : {std::pair{"compression_type=zstd", "zstd"},
                                      {"extended_l2=on", "extended L2"},
                                      {"refcount_bits=8", "16-bit refcounts"}}) {
    Make(options, false);
    const std::string before = ReadTextFile(dir_ / "a.qcow2");
    const Status refused = Amend({.version = 2});
    ASSERT_FALSE(refused) << options;
    EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
    EXPECT_TRUE(refused.error().message.contains(says)) << refused.error().message;
    EXPECT_TRUE(ReadTextFile(dir_ / "a.qcow2") == before) << options;
  }
}

TEST_F(AmendTest, SnapshotsKeepTheirVersion) {
  for (const std::string compat : {"0.10", "1.1"}) {
    Make("compat=" + compat, false);
    Run({"qemu-img", "snapshot", "-c", "one", "a.qcow2"});
    EXPECT_FALSE(Amend({.version = compat == "1.1" ? 2 : 3}));
    ExpectShownAs(compat);
  }
}

// A name that does not fit into the first sector beside the fields of version 3.
TEST_F(AmendTest, LongNamesMove) {
  for (const std::string size : {"512", "1024", "65536"}) {
    SCOPED_TRACE(size);
    const std::string name(size == "512" ? 300 : 400, 'n');
    Run({"qemu-img", "create", "-q", "-u", "-f", "qcow2", "-o", "compat=0.10,cluster_size=" + size,
         "-b", name, "-F", "raw", "a.qcow2", "1M"});
    for (const uint32_t to : {3u, 2u, 3u}) {
      const Status amended = Amend({.version = to});
      ASSERT_TRUE(amended) << amended.error().message;
      const std::string info = Run({"qemu-img", "info", "--output=json", "a.qcow2"});
      EXPECT_TRUE(info.contains("\"backing-filename\": \"" + name + "\"")) << info;
      EXPECT_TRUE(info.contains("\"backing-filename-format\": \"raw\"")) << info;
    }
  }
}

TEST_F(AmendTest, ACrashLeavesTheOldOrTheNew) {
  Random random;
  for (const auto& [options, to] : {std::pair{"compat=1.1,cluster_size=64k", 2u},
                                    {"compat=0.10,cluster_size=512", 3u},
                                    {"compat=1.1,cluster_size=512", 2u}}) {
    SCOPED_TRACE(options);
    Make(options, true);
    const TempDir image;
    Run({"cp", dir_ / "a.qcow2", image / "a.qcow2"});
    const auto host = MemHost::Create();
    ASSERT_TRUE(host->ImportFrom(image.path()));
    host->StartRecording();
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    ASSERT_TRUE(AmendQcow2(*std::move(file), cache_, {.version = to}));
    host->Mark("done");
    CrashEnumerator crash(host->StopRecording());
    uint64_t judged = 0;
    bool judged_last = false;
    crash.ForEachState([&](const CrashState& state) {
      const auto found = state.MakeHost();
      const auto opened = found->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
      const auto header = ReadQcow2Header(**opened);
      EXPECT_TRUE(header) << state.Describe() << header.error().message;
      if (!header) return false;
      const bool last = state.point + 1 == crash.points();
      EXPECT_TRUE(!last || header->version == to) << state.Describe();
      if (judged < 40 && ((last && !judged_last) || random.OneIn(20))) {
        ++judged;
        judged_last = judged_last || last;
        const TempDir left;
        EXPECT_TRUE(found->ExportTo(left.path()));
        Run({"cp", left / "a.qcow2", dir_ / "a.qcow2"});
        const CommandResult check =
            RunCommand({"qemu-img", "check", "-f", "qcow2", dir_ / "a.qcow2"});
        EXPECT_TRUE(check.exit_code == 0 || check.exit_code == 3) << check.Describe();
        Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", "a.qcow2", "shown.raw"});
      }
      return !testing::Test::HasFailure();
    });
    EXPECT_TRUE(judged_last || judged == 40u);
  }
}

TEST_F(AmendTest, AFailureLeavesWhatItShows) {
  Make("compat=1.1,cluster_size=4k", true);
  const TempDir image;
  Run({"cp", dir_ / "a.qcow2", image / "a.qcow2"});
  for (uint64_t skip = 0;; ++skip) {
    const auto host = MemHost::Create();
    ASSERT_TRUE(host->ImportFrom(image.path()));
    const size_t fault = host->AddFault({.matches = IsMutation, .skip = skip, .error = EIO});
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file);
    const Status amended = AmendQcow2(*std::move(file), cache_, {.version = 2});
    if (host->FaultHits(fault) == 0) {
      EXPECT_TRUE(amended);
      break;
    }
    EXPECT_FALSE(amended) << skip;
    EXPECT_EQ(host->OpenFiles(), 0u);
    if (skip % 5 != 0) continue;
    const TempDir after;
    ASSERT_TRUE(host->ExportTo(after.path()));
    Run({"cp", after / "a.qcow2", dir_ / "a.qcow2"});
    Run({"qemu-img", "compare", "-f", "qcow2", "-F", "raw", "a.qcow2", "shown.raw"});
  }
}

TEST_F(AmendTest, AnImageInUseIsLeftAlone) {
  Make("compat=1.1", false);
  const auto directory = OpenPosixDirectory(dir_.path());
  const auto user = (*directory)->Open("a.qcow2", OpenMode::kReadWrite);
  ASSERT_TRUE((*user)->SetImageLocks(kActiveLayerLocks));
  EXPECT_EQ(Amend({.version = 2}).error().kind, ErrorKind::kBusy);
}

}  // namespace
}  // namespace chainfs::qcow2
