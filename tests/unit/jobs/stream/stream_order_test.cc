// SPDX-License-Identifier: Apache-2.0
//
// In which order a stream copies: what a trace names, then what guests read, then the rest.
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/temp_dir.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kGranuleOfReads = FirstReads::kGranule;

class StreamOrderTest : public StreamFixture {
 protected:
  // base <- vm, 32 MiB, all of it in base.
  void MakeVm() {
    Create("base.qcow2", 32 * kMiB);
    Io("base.qcow2", {"write -P 1 0 32M"});
    Create("vm.qcow2", 32 * kMiB, "base.qcow2");
    Remember("vm.qcow2");
  }
  void Read(uint64_t offset) {
    std::vector<std::byte> out(4096);
    ASSERT_TRUE(Disk("vm")->Read(GuestOffset(offset), out));
  }
  bool IsCopied(uint64_t offset) {
    return Disk("vm")->Map(GuestOffset(offset), 1, MapDetail::kFast).value().layer == 0;
  }
  // A job that has not begun to work yet.
  std::string Paused(const StreamRequest& request) {
    const auto id = jobs_->Start({.type = "stream",
                                  .disk = Disk(request.disk),
                                  .arguments = ArgumentsOf(request),
                                  .paused = true});
    EXPECT_TRUE(id) << id.error().message;
    return id.value_or("");
  }
  // Lets it take one chunk, after which the limit holds it back for hours.
  void TakeOneChunk(const std::string& id) {
    ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), id, 1));
    ASSERT_TRUE(jobs_->Resume(Disk("vm"), id));
    WaitFor([&] { return jobs_->Find("vm", id)->current_progress > 0; }, "a chunk");
  }
  void Finish(const std::string& id) {
    ASSERT_TRUE(jobs_->SetSpeed(Disk("vm"), id, 0));
    const JobInfo info = WaitEnd("vm", id);
    EXPECT_FALSE(info.error) << *info.error;
    EXPECT_EQ(info.current_progress, info.total_progress);
    EXPECT_EQ(info.total_progress, 32 * kMiB);
    EXPECT_EQ(ChainOf("vm"), Words{"vm.qcow2"});
  }
  uint64_t ReadFirst(const std::string& id) {
    const std::optional<JobInfo> job = jobs_->Find("vm", id);
    for (const auto& [name, value] : job->facts) {
      if (name == "read-first") return std::get<uint64_t>(value);
    }
    return UINT64_MAX;
  }
};

TEST_F(StreamOrderTest, WhatAGuestReadsIsCopiedBeforeTheCursorGetsThere) {
  MakeVm();
  OpenAll();
  const std::string id = Paused({.disk = "vm"});
  Read(20 * kMiB + 4096);
  TakeOneChunk(id);
  EXPECT_TRUE(IsCopied(20 * kMiB));
  EXPECT_FALSE(IsCopied(20 * kMiB + kGranuleOfReads));
  EXPECT_FALSE(IsCopied(0));
  EXPECT_EQ(ReadFirst(id), kGranuleOfReads);
  Finish(id);
  // Its neighbours came before the rest, too.
  EXPECT_EQ(ReadFirst(id), HotSource::kWindow + kGranuleOfReads);
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

// Nobody listens any more when a job is over, or when it was not accepted.
TEST_F(StreamOrderTest, ReadsAreNotedByAJobThatCopiesOnly) {
  MakeVm();
  OpenAll();
  EXPECT_TRUE(Refused({.disk = "vm", .base = "vm.qcow2"}).message.size() > 0);
  Read(kMiB);
  const std::string id = Paused({.disk = "vm"});
  TakeOneChunk(id);
  EXPECT_TRUE(IsCopied(0));
  EXPECT_EQ(ReadFirst(id), 0u);
  ASSERT_TRUE(jobs_->Cancel(Disk("vm"), id));
  WaitEnd("vm", id);
  Read(20 * kMiB);
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

TEST_F(StreamOrderTest, ATraceIsCopiedFirst) {
  MakeVm();
  WriteTextFile(At("vm.trace"), "chainfs-trace 1\n25165824 65536\n99999999999 5\n8388608 1\n");
  OpenAll();
  const std::string id = Paused({.disk = "vm", .trace = "vm.trace"});
  Read(20 * kMiB);
  TakeOneChunk(id);
  EXPECT_TRUE(IsCopied(24 * kMiB));
  EXPECT_FALSE(IsCopied(20 * kMiB));
  EXPECT_FALSE(IsCopied(8 * kMiB));
  EXPECT_FALSE(IsCopied(0));
  Finish(id);
  CloseAll();
  ExpectAsRemembered("vm.qcow2");
}

// The next daemon reads it again, or goes on without.
TEST_F(StreamOrderTest, AJobThatIsTakenUpGoesOnWithItsTrace) {
  for (const bool is_left : {true, false}) {
    MakeVm();
    WriteTextFile(At("vm.trace"), "chainfs-trace 1\n25165824 65536\n8388608 1\n");
    OpenAll();
    const std::string id = Accepted({.disk = "vm", .speed = 1, .trace = "vm.trace"});
    WaitFor([&] { return jobs_->Find("vm", id)->current_progress > 0; }, "a chunk");
    EXPECT_TRUE(IsCopied(24 * kMiB));
    const auto records = catalog_->records().ReadAll("job-");
    ASSERT_EQ(records->size(), 1u);
    EXPECT_NE(records->front().contents.find("\"trace\": \"" + At("vm.trace") + "\""),
              std::string::npos)
        << records->front().contents;
    CloseAll();
    if (!is_left) std::filesystem::remove(At("vm.trace"));
    OpenAll();
    jobs_->ResumeRecorded();
    WaitFor([&] { return IsCopied(is_left ? 8 * kMiB : 0); }, "what comes next");
    EXPECT_EQ(IsCopied(is_left ? 0 : 8 * kMiB), false);
    Finish(id);
    CloseAll();
    ExpectAsRemembered("vm.qcow2");
  }
}

TEST_F(StreamOrderTest, ATraceThatMakesNoSenseIsRefused) {
  MakeVm();
  const TempDir elsewhere;
  WriteTextFile(At("vm.trace"), "chainfs-trace 1\n0 1\n0\n");
  WriteTextFile(At("long.trace"), std::string((4 << 20) + 1, '\n'));
  WriteTextFile(elsewhere / "vm.trace", "chainfs-trace 1\n0 1\n");
  std::filesystem::create_symlink(elsewhere / "vm.trace", At("link.trace"));
  ASSERT_EQ(::mkfifo(At("fifo").c_str(), 0600), 0);
  OpenAll();
  const auto refused = [&](const std::string& trace) {
    return Refused({.disk = "vm", .trace = trace});
  };
  EXPECT_EQ(refused("vm.trace").message,
            At("vm.trace") + ": line 3 is not an offset and a length in bytes");
  EXPECT_EQ(refused("long.trace").message, At("long.trace") + ": longer than 4194304 bytes");
  EXPECT_EQ(refused("vm.qcow2").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused("missing").kind, ErrorKind::kNotFound);
  EXPECT_EQ(refused("fifo").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused(".").kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused("link.trace").kind, ErrorKind::kAccess);
  EXPECT_EQ(refused(elsewhere / "vm.trace").kind, ErrorKind::kAccess);
  EXPECT_TRUE(Records().empty());
  // Root may.
  const auto id = StartStream(
      *jobs_, *catalog_,
      {.disk = "vm", .remove = RemoveLayers::kAnywhere, .trace = elsewhere / "vm.trace"});
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_FALSE(WaitEnd("vm", *id).error);
}

}  // namespace
}  // namespace chainfs::jobs
