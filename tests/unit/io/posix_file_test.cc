// SPDX-License-Identifier: Apache-2.0
//
// PosixFile against the real host: whole reads and writes, growing, zeroing, holes, copies, and the
// poisoning that File adds.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <thread>
#include <vector>

#include "blocklayer/io/posix.h"
#include "blocklayer/io/posix_file.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"
#include "tests/support/stamp.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class PosixFileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = OpenPosixDirectory(temp_.path());
    ASSERT_TRUE(opened) << opened.error().message;
    directory_ = *std::move(opened);
  }

  std::unique_ptr<File> Make(const std::string& name) {
    auto file = directory_->Create(name, 0600);
    EXPECT_TRUE(file) << file.error().message;
    return *std::move(file);
  }

  static std::vector<std::byte> Bytes(size_t count, int value) {
    return std::vector<std::byte>(count, static_cast<std::byte>(value));
  }

  static std::vector<std::byte> Read(File& file, uint64_t offset, size_t count) {
    std::vector<std::byte> data(count, std::byte{0xee});
    const auto read = file.ReadAt(HostOffset(offset), data);
    EXPECT_TRUE(read) << read.error().message;
    data.resize(read.value_or(0));
    return data;
  }

  TempDir temp_;
  std::unique_ptr<Directory> directory_;
};

TEST_F(PosixFileTest, ReadsBackWhatWasWrittenAndStopsAtTheEnd) {
  const auto file = Make("a");
  EXPECT_TRUE(file->writable());
  EXPECT_EQ(file->path(), temp_ / "a");
  ASSERT_TRUE(file->WriteAt(HostOffset(1000), Bytes(3000, 7)));
  EXPECT_EQ(file->Size().value(), 4000u);
  EXPECT_TRUE(IsZero(Read(*file, 0, 1000)));
  EXPECT_EQ(Read(*file, 1000, 3000), Bytes(3000, 7));
  EXPECT_EQ(Read(*file, 3900, 3000), Bytes(100, 7));
  EXPECT_TRUE(Read(*file, 4000, 10).empty());
  EXPECT_TRUE(Read(*file, UINT64_MAX - 5, 10).empty());
  std::vector<std::byte> tail(200, std::byte{1});
  ASSERT_TRUE(file->ReadZeroFilled(HostOffset(3900), tail));
  EXPECT_TRUE(IsZero(std::span(tail).subspan(100)));
  EXPECT_TRUE(file->DataSync());
}

TEST_F(PosixFileTest, OffsetsBeyondTheHostsLimitFailAndDoNotWrap) {
  const auto file = Make("a");
  const Status written = file->WriteAt(HostOffset(UINT64_MAX - 2), Bytes(10, 1));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().sys_errno, EFBIG);
  EXPECT_FALSE(file->Truncate(UINT64_MAX));
  EXPECT_FALSE(file->ZeroRange(HostOffset(INT64_MAX), 2));
  EXPECT_EQ(file->Size().value(), 0u);
}

TEST_F(PosixFileTest, ReadOnlyFilesRefuseEveryChange) {
  Make("a");
  const auto file = directory_->Open("a", OpenMode::kReadOnly).value();
  EXPECT_FALSE(file->writable());
  const auto refused = [](const Status& status) {
    return !status && status.error().kind == ErrorKind::kReadOnly;
  };
  EXPECT_TRUE(refused(file->WriteAt(HostOffset(0), Bytes(1, 1))));
  EXPECT_TRUE(refused(file->Truncate(5)));
  EXPECT_TRUE(refused(file->PunchHole(HostOffset(0), 4096)));
  EXPECT_TRUE(refused(file->ZeroRange(HostOffset(0), 4096)));
  EXPECT_TRUE(refused(file->CopyRangeFrom(*file, HostOffset(0), HostOffset(9), 1)));
}

TEST_F(PosixFileTest, PunchedRangesReadZeroAndTheSizeStays) {
  const auto file = Make("a");
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(1 << 20, 9)));
  const Status punched = file->PunchHole(HostOffset(1 << 16), 1 << 18);
  if (!punched) {
    ASSERT_EQ(punched.error().kind, ErrorKind::kUnsupported) << punched.error().message;
    return;
  }
  EXPECT_EQ(file->Size().value(), 1u << 20);
  EXPECT_TRUE(IsZero(Read(*file, 1 << 16, 1 << 18)));
  EXPECT_EQ(Read(*file, 0, 1 << 16), Bytes(1 << 16, 9));
  const uint64_t before = file->Stat()->size;
  EXPECT_TRUE(file->PunchHole(HostOffset(1 << 21), 4096));
  EXPECT_TRUE(file->PunchHole(HostOffset(0), 0));
  EXPECT_EQ(file->Stat()->size, before);
}

TEST_F(PosixFileTest, WhatIsSetAsideReadsAsBefore) {
  const auto file = Make("a");
  ASSERT_TRUE(file->WriteAt(HostOffset(0), Bytes(4096, 9)));
  const Status done = file->Allocate(HostOffset(0), 1 << 20);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(file->Allocate(HostOffset(0), 0));
  EXPECT_EQ(file->Size().value(), 1u << 20);
  EXPECT_GE(file->Stat()->allocated_bytes, 1u << 20);
  EXPECT_EQ(Read(*file, 0, 4096), Bytes(4096, 9));
  EXPECT_TRUE(IsZero(Read(*file, 4096, (1 << 20) - 4096)));
}

void CheckZeroRange(File& file) {
  const std::vector<std::byte> ones(300000, std::byte{1});
  ASSERT_TRUE(file.WriteAt(HostOffset(0), ones));
  ASSERT_TRUE(file.ZeroRange(HostOffset(1001), 100000));
  ASSERT_TRUE(file.ZeroRange(HostOffset(299999), 5000));
  ASSERT_TRUE(file.ZeroRange(HostOffset(700000), 10));
  ASSERT_TRUE(file.ZeroRange(HostOffset(900000), 0));
  ASSERT_EQ(file.Size().value(), 700010u);
  std::vector<std::byte> all(700010);
  ASSERT_EQ(file.ReadAt(HostOffset(0), all).value(), all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    const bool zero = (i >= 1001 && i < 101001) || i >= 299999;
    ASSERT_EQ(all[i], zero ? std::byte{0} : std::byte{1}) << i;
  }
}

TEST_F(PosixFileTest, ZeroRangeZeroesAndGrows) { CheckZeroRange(*Make("a")); }

// tmpfs has no FALLOC_FL_ZERO_RANGE: the fall-back must do the same.
TEST_F(PosixFileTest, ZeroRangeFallsBackWhereTheHostCannot) {
  UniqueFd fd(::memfd_create("chainfs-test", MFD_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  PosixFile file("memfd", std::move(fd), true);
  CheckZeroRange(file);
}

TEST_F(PosixFileTest, GrowingByZeroRangeNeverCutsAnotherThreadsAppend) {
  UniqueFd fd(::memfd_create("chainfs-test", MFD_CLOEXEC));
  ASSERT_TRUE(fd.valid());
  PosixFile file("memfd", std::move(fd), true);
  for (uint64_t round = 0; round < 300; ++round) {
    const HostOffset base(round * 8192);
    std::thread appender([&] { EXPECT_TRUE(file.WriteAt(base + 4096, Bytes(4096, 5))); });
    EXPECT_TRUE(file.ZeroRange(base, 4096));
    appender.join();
    ASSERT_EQ(Read(file, base.value + 4096, 4096), Bytes(4096, 5)) << "round " << round;
  }
}

TEST_F(PosixFileTest, CopiesWithinTheKernel) {
  const auto source = Make("a");
  const auto target = Make("b");
  Random random;
  std::vector<std::byte> data(3 << 20);
  random.Fill(data);
  ASSERT_TRUE(source->WriteAt(HostOffset(0), data));
  const Status copied =
      target->CopyRangeFrom(*source, HostOffset(4096), HostOffset(65536), 1 << 21);
  if (!copied) {
    ASSERT_EQ(copied.error().kind, ErrorKind::kUnsupported) << copied.error().message;
    return;
  }
  const auto expected = std::span(data).subspan(4096, 1 << 21);
  EXPECT_TRUE(std::ranges::equal(Read(*target, 65536, 1 << 21), expected));
}

TEST_F(PosixFileTest, CopiesThatTheKernelCannotDoAreUnsupported) {
  const auto source = Make("a");
  const auto target = Make("b");
  ASSERT_TRUE(source->WriteAt(HostOffset(0), Bytes(8192, 3)));
  const auto kind = [](const Status& status) {
    return status ? ErrorKind::kIo : status.error().kind;
  };
  // Past the end of the source: the caller must copy, and fill with zeros, itself.
  EXPECT_EQ(kind(target->CopyRangeFrom(*source, HostOffset(4096), HostOffset(0), 8192)),
            ErrorKind::kUnsupported);
  // Overlapping within one file.
  EXPECT_EQ(kind(source->CopyRangeFrom(*source, HostOffset(0), HostOffset(512), 4096)),
            ErrorKind::kUnsupported);
  // Another kind of file altogether.
  const auto host = MemHost::Create();
  host->PutFile("m", Bytes(4096, 1));
  const auto memory = host->OpenRoot()->Open("m", OpenMode::kReadOnly).value();
  EXPECT_EQ(kind(target->CopyRangeFrom(*memory, HostOffset(0), HostOffset(0), 4096)),
            ErrorKind::kUnsupported);
  EXPECT_TRUE(target->CopyRangeFrom(*source, HostOffset(0), HostOffset(0), 0));
}

TEST_F(PosixFileTest, RunsTellDataFromHoles) {
  const auto file = Make("a");
  ASSERT_TRUE(file->Truncate(4 << 20));
  ASSERT_TRUE(file->WriteAt(HostOffset(1 << 20), Bytes(1 << 20, 1)));
  // Every data byte lies in a data run, and runs cover the file exactly.
  uint64_t at = 0;
  while (at < 4u << 20) {
    const DataRun run = file->RunAt(HostOffset(at)).value();
    ASSERT_GT(run.length, 0u);
    EXPECT_TRUE(run.is_data || at + run.length <= 1u << 20 || at >= 2u << 20) << at;
    at += run.length;
  }
  EXPECT_EQ(at, 4u << 20);
  const DataRun past = file->RunAt(HostOffset(4 << 20)).value();
  EXPECT_FALSE(past.is_data);
  EXPECT_EQ(past.length, UINT64_MAX - (4u << 20));
}

TEST_F(PosixFileTest, OneNameOpenedTwiceIsOneFile) {
  const auto a = Make("a");
  const auto b = directory_->Open("a", OpenMode::kReadWrite).value();
  const auto c = Make("c");
  EXPECT_EQ(a->Stat()->id, b->Stat()->id);
  EXPECT_NE(a->Stat()->id, c->Stat()->id);
  ASSERT_TRUE(a->WriteAt(HostOffset(0), Bytes(4096, 1)));
  EXPECT_EQ(Read(*b, 0, 4096), Bytes(4096, 1));
}

TEST_F(PosixFileTest, AFileSizeLimitIsAnErrorNotTheEnd) {
  const auto before = ::signal(SIGXFSZ, SIG_IGN);
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small = {.rlim_cur = 100000, .rlim_max = old.rlim_max};
  const auto file = Make("a");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  // The host writes up to the limit and says so by a short write; the rest fails.
  const Status written = file->WriteAt(HostOffset(50000), Bytes(100000, 1));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  ::signal(SIGXFSZ, before);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().sys_errno, EFBIG);
  EXPECT_EQ(file->Size().value(), 100000u);
}

// A file whose sync fails when told to.
class SyncFails : public PosixFile {
 public:
  using PosixFile::PosixFile;
  bool fail = false;
  bool no_memory = false;  // to say so

 protected:
  Status DoDataSync() override {
    if (no_memory) throw std::bad_alloc();
    return fail ? Status(FailErrno(EIO, "disk")) : PosixFile::DoDataSync();
  }
};

TEST_F(PosixFileTest, AFailedSyncPoisonsForGood) {
  SyncFails file("memfd", UniqueFd(::memfd_create("chainfs-test", MFD_CLOEXEC)), true);
  EXPECT_TRUE(file.DataSync());
  EXPECT_FALSE(file.poisoned());
  file.fail = true;
  EXPECT_FALSE(file.DataSync());
  file.fail = false;
  EXPECT_TRUE(file.poisoned());
  const Status again = file.DataSync();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kIo);
}

TEST_F(PosixFileTest, SoDoesOneThatRanOutOfMemory) {
  SyncFails file("memfd", UniqueFd(::memfd_create("chainfs-test", MFD_CLOEXEC)), true);
  file.no_memory = true;
  EXPECT_THROW((void)file.DataSync(), std::bad_alloc);
  file.no_memory = false;
  EXPECT_TRUE(file.poisoned());
  EXPECT_FALSE(file.DataSync());
}

}  // namespace
}  // namespace chainfs
