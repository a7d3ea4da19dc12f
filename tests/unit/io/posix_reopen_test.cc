// SPDX-License-Identifier: Apache-2.0
//
// From reading to writing: the same file under the same descriptor, its locks held throughout,
// beside readers; and what happens where that cannot be.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/descriptors.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class PosixReopenTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = OpenPosixDirectory(temp_.path()).value();
    WriteTextFile(Image(), std::string(1 << 20, 'x'));
  }
  std::string Image() const { return temp_ / "a.raw"; }
  std::unique_ptr<File> Open(OpenMode mode) { return directory_->Open("a.raw", mode).value(); }
  std::vector<int> Modes() const { return AccessModesOf(Image()); }

  TempDir temp_;
  std::unique_ptr<Directory> directory_;
};

TEST_F(PosixReopenTest, TheSameFileUnderTheSameDescriptor) {
  const auto file = Open(OpenMode::kReadOnly);
  EXPECT_EQ(Modes(), std::vector{O_RDONLY});
  const std::string data = "written";
  EXPECT_EQ(file->WriteAt(HostOffset(0), std::as_bytes(std::span(data))).error().kind,
            ErrorKind::kReadOnly);
  // Whatever became of its name.
  std::filesystem::rename(Image(), temp_ / "b.raw");
  WriteTextFile(Image(), "another one");
  ASSERT_TRUE(file->ReopenForWriting());
  EXPECT_TRUE(file->writable());
  EXPECT_EQ(AccessModesOf(temp_ / "b.raw"), std::vector{O_RDWR});
  EXPECT_TRUE(Modes().empty());
  ASSERT_TRUE(file->WriteAt(HostOffset(0), std::as_bytes(std::span(data))));
  ASSERT_TRUE(file->DataSync());
  EXPECT_TRUE(ReadTextFile(temp_ / "b.raw").starts_with("writtenxxx"));
  EXPECT_EQ(ReadTextFile(Image()), "another one");
  EXPECT_TRUE(file->ReopenForWriting()) << "again does nothing";
}

TEST_F(PosixReopenTest, TheLocksAreNeverGoneAndNeverTwice) {
  std::atomic<bool> stop = false;
  const auto file = Open(OpenMode::kReadOnly);
  ASSERT_TRUE(file->SetImageLocks(kBackingLayerLocks));
  // Somebody who would write it whenever that is permitted.
  std::atomic<int> got_in = 0;
  std::thread intruder([&] {
    while (!stop) got_in += Open(OpenMode::kReadWrite)->SetImageLocks(kActiveLayerLocks) ? 1 : 0;
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ASSERT_TRUE(file->ReopenForWriting());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  stop = true;
  intruder.join();
  EXPECT_EQ(got_in, 0);
  EXPECT_TRUE(Open(OpenMode::kReadOnly)->SetImageLocks(kBackingLayerLocks)) << "others may read";
  EXPECT_TRUE(file->SetImageLocks(kActiveLayerLocks));
  EXPECT_FALSE(Open(OpenMode::kReadOnly)->SetImageLocks(kBackingLayerLocks));
}

TEST_F(PosixReopenTest, ReadersGoOnAndKeepNoLocksAlive) {
  constexpr int kRounds = 200;
  for (int round = 0; round < kRounds; ++round) {
    const auto file = Open(OpenMode::kReadOnly);
    ASSERT_TRUE(file->SetImageLocks(kBackingLayerLocks));
    std::atomic<bool> stop = false;
    std::atomic<int> running = 0;
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&] {
        std::vector<std::byte> data(1 << 20);
        ++running;
        while (!stop) {
          const auto read = file->ReadAt(HostOffset(0), data);
          EXPECT_TRUE(read && *read == data.size() && data.back() == std::byte{'x'});
        }
      });
    }
    while (running < 3) std::this_thread::yield();
    EXPECT_TRUE(file->ReopenForWriting());
    // A read that still has the old description would make this conflict with ourselves.
    EXPECT_TRUE(file->SetImageLocks(kActiveLayerLocks));
    stop = true;
    for (std::thread& reader : readers) reader.join();
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

TEST_F(PosixReopenTest, AFileThatTheHostDoesNotLetBeWrittenStaysAsItWas) {
  // A program that runs: ETXTBSY, also for root.
  std::filesystem::remove(Image());
  std::filesystem::copy_file(std::filesystem::canonical("/bin/sleep"), Image());
  std::filesystem::permissions(Image(), std::filesystem::perms(0700));
  const auto file = Open(OpenMode::kReadOnly);
  ASSERT_TRUE(file->SetImageLocks(kBackingLayerLocks));
  Command running({Image(), "60"});
  const std::string program = "/proc/" + std::to_string(running.pid()) + "/exe";
  std::error_code error;
  while (std::filesystem::read_symlink(program, error) != Image()) std::this_thread::yield();
  const Status refused = file->ReopenForWriting();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().sys_errno, ETXTBSY);
  EXPECT_NE(refused.error().message.find("a.raw: cannot open it for writing"), std::string::npos);
  running.Signal(SIGKILL);
  running.Wait();
  std::vector<std::byte> data(4);
  EXPECT_EQ(file->ReadAt(HostOffset(0), data).value_or(0), 4u);
  EXPECT_FALSE(Open(OpenMode::kReadWrite)->SetImageLocks(kActiveLayerLocks)) << "still locked";
  EXPECT_EQ(Modes().size(), 1u) << "nothing leaks";
}

TEST_F(PosixReopenTest, WithoutRoomForOneMoreOpenFileNothingChanges) {
  const auto file = Open(OpenMode::kReadOnly);
  ASSERT_TRUE(file->SetImageLocks(kBackingLayerLocks));
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const int next = ::dup(0);
  ASSERT_GE(next, 0);
  ::close(next);
  // Room for none, then for the first of the two that it takes for a moment.
  for (const int more : {0, 1}) {
    const rlimit tight = {.rlim_cur = static_cast<rlim_t>(next + more), .rlim_max = old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
    const Status refused = file->ReopenForWriting();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().sys_errno, EMFILE);
    EXPECT_EQ(refused.error().message.find(Image() + ": cannot open it for writing: too many open"),
              0u)
        << refused.error().message;
    EXPECT_FALSE(file->writable());
    EXPECT_EQ(Modes(), std::vector{O_RDONLY});
    EXPECT_FALSE(Open(OpenMode::kReadWrite)->SetImageLocks(kActiveLayerLocks)) << "still locked";
  }
  EXPECT_TRUE(file->ReopenForWriting());
}

TEST_F(PosixReopenTest, AFileThatSomebodyElseHasChangedIsNotOpenedForWriting) {
  const auto file = Open(OpenMode::kReadOnly);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  WriteTextFile(Image(), "something else");
  const Status refused = file->ReopenForWriting();
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("somebody else has changed"), std::string::npos);
  EXPECT_FALSE(file->writable());
  EXPECT_EQ(Modes(), std::vector{O_RDONLY});
}

// Another daemon that looks whether the file is being written.
TEST_F(PosixReopenTest, AShortLeaseIsWaitedFor) {
  const auto file = Open(OpenMode::kReadOnly);
  const int lease = ::open(Image().c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(lease, 0);
  ASSERT_EQ(::fcntl(lease, F_SETSIG, SIGURG), 0);
  ASSERT_EQ(::fcntl(lease, F_SETLEASE, F_RDLCK), 0);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    ::close(lease);
  });
  Status reopened = file->ReopenForWriting();
  // On a busy machine even the shortest lease may last longer than is waited for in one go.
  for (int i = 0; i < 100 && !reopened; ++i) reopened = file->ReopenForWriting();
  EXPECT_TRUE(reopened);
  other.join();
}

}  // namespace
}  // namespace chainfs
