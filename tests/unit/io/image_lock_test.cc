// SPDX-License-Identifier: Apache-2.0
//
// The image locks: chainfs and QEMU refuse each other exactly where two QEMUs would. Both
// directions, against the real programs.
#include <gtest/gtest.h>

#include <memory>

#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class ImageLockTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = OpenPosixDirectory(temp_.path()).value();
    Expect({"qemu-img", "create", "-q", "-f", "qcow2", Image(), "1M"});
  }

  std::string Image() const { return temp_ / "a.qcow2"; }

  std::unique_ptr<File> Open(OpenMode mode = OpenMode::kReadWrite) {
    return directory_->Open("a.qcow2", mode).value();
  }

  static void Expect(const std::vector<std::string>& arguments) {
    const CommandResult result = RunCommand(arguments);
    ASSERT_TRUE(result.ok()) << arguments[0] << ' ' << arguments[1] << ": " << result.Describe();
  }

  static void ExpectRefused(const std::vector<std::string>& arguments, const std::string& why) {
    const CommandResult result = RunCommand(arguments);
    EXPECT_FALSE(result.ok()) << arguments[1];
    EXPECT_NE(result.err.find(why), std::string::npos) << result.Describe();
  }

  // Another process that has the image open.
  std::unique_ptr<Command> QemuIo(bool read_only) {
    std::vector<std::string> arguments = {"qemu-io", "-f", "qcow2"};
    if (read_only) arguments.emplace_back("-r");
    arguments.push_back(Image());
    auto command = std::make_unique<Command>(arguments);
    // An answer shows that it has opened, and locked, the image.
    EXPECT_TRUE(command->Write("length\n"));
    EXPECT_TRUE(command->WaitForOutput("1 MiB"));
    return command;
  }

  static ErrorKind KindOf(const Status& status) {
    EXPECT_FALSE(status);
    return status ? ErrorKind::kShutdown : status.error().kind;
  }

  TempDir temp_;
  std::unique_ptr<Directory> directory_;
};

TEST_F(ImageLockTest, QemuRefusesOurActiveLayer) {
  const auto file = Open();
  ASSERT_TRUE(file->SetImageLocks(kActiveLayerLocks));
  ExpectRefused({"qemu-img", "info", Image()}, "Failed to get shared \"write\" lock");
  ExpectRefused({"qemu-img", "check", Image()}, "Failed to get shared \"write\" lock");
  ExpectRefused({"qemu-img", "resize", Image(), "2M"}, "lock");
  ExpectRefused({"qemu-io", "-f", "qcow2", "-c", "write 0 512", Image()},
                "Failed to get \"write\" lock");
  Expect({"qemu-img", "info", "-U", Image()});
  // As a backing file of something new it may be named.
  Expect({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", Image(), temp_ / "b"});
  ASSERT_TRUE(file->SetImageLocks(kNoLocks));
  Expect({"qemu-img", "info", Image()});
}

TEST_F(ImageLockTest, QemuMayReadOurBackingLayerButNotWriteIt) {
  const auto file = Open(OpenMode::kReadOnly);
  ASSERT_TRUE(file->SetImageLocks(kBackingLayerLocks));
  Expect({"qemu-img", "info", Image()});
  Expect({"qemu-img", "check", Image()});
  ExpectRefused({"qemu-img", "resize", Image(), "2M"}, "Failed to get \"write\" lock");
  ExpectRefused({"qemu-io", "-f", "qcow2", "-c", "write 0 512", Image()},
                "Failed to get \"write\" lock");
}

TEST_F(ImageLockTest, ClosingTheFileDropsTheLocks) {
  ASSERT_TRUE(Open()->SetImageLocks(kActiveLayerLocks));
  Expect({"qemu-img", "check", Image()});
}

TEST_F(ImageLockTest, WeRefuseWhatQemuWrites) {
  const auto qemu = QemuIo(false);
  const auto file = Open();
  const Status active = file->SetImageLocks(kActiveLayerLocks);
  EXPECT_EQ(KindOf(active), ErrorKind::kBusy);
  const std::string locked =
      Image() + ": locked by another process; stop it, and the disk appears by itself";
  EXPECT_EQ(active.error().message, locked);
  const Status backing = Open(OpenMode::kReadOnly)->SetImageLocks(kBackingLayerLocks);
  EXPECT_EQ(KindOf(backing), ErrorKind::kBusy);
  EXPECT_EQ(backing.error().message, locked);
  ASSERT_TRUE(qemu->Write("quit\n"));
  EXPECT_TRUE(qemu->Wait().ok());
  EXPECT_TRUE(file->SetImageLocks(kActiveLayerLocks));
}

TEST_F(ImageLockTest, WeShareWhatQemuReads) {
  const auto qemu = QemuIo(true);
  EXPECT_TRUE(Open(OpenMode::kReadOnly)->SetImageLocks(kBackingLayerLocks));
  EXPECT_EQ(KindOf(Open()->SetImageLocks(kActiveLayerLocks)), ErrorKind::kBusy);
}

TEST_F(ImageLockTest, ARefusedChangeKeepsTheOldSet) {
  const auto file = Open();
  ASSERT_TRUE(file->SetImageLocks(kBackingLayerLocks));
  const auto qemu = QemuIo(true);
  EXPECT_EQ(KindOf(file->SetImageLocks(kActiveLayerLocks)), ErrorKind::kBusy);
  // Still a backing layer: readers come in (so nothing of the refused set stayed), writers do not.
  Expect({"qemu-img", "info", Image()});
  ExpectRefused({"qemu-io", "-f", "qcow2", "-c", "write 0 512", Image()},
                "Failed to get \"write\" lock");
  qemu->Signal(SIGKILL);
  qemu->Wait();
  EXPECT_TRUE(file->SetImageLocks(kActiveLayerLocks));
  EXPECT_TRUE(file->SetImageLocks(kStreamTargetLocks));
  EXPECT_TRUE(file->SetImageLocks(kBackingLayerLocks));
  Expect({"qemu-img", "info", Image()});
}

TEST_F(ImageLockTest, TwoOpeningsOfOurOwnConflictToo) {
  const auto first = Open();
  const auto second = Open();
  ASSERT_TRUE(first->SetImageLocks(kActiveLayerLocks));
  EXPECT_EQ(KindOf(second->SetImageLocks(kBackingLayerLocks)), ErrorKind::kBusy);
  ASSERT_TRUE(first->SetImageLocks(kBackingLayerLocks));
  EXPECT_TRUE(second->SetImageLocks(kBackingLayerLocks));
  EXPECT_EQ(KindOf(first->SetImageLocks(kActiveLayerLocks)), ErrorKind::kBusy);
}

// The in-memory host must not be kinder than the real one.
TEST_F(ImageLockTest, TheInMemoryHostAgrees) {
  const auto host = MemHost::Create();
  host->PutFile("a", {});
  const auto root = host->OpenRoot();
  const ImageLockSet sets[] = {kNoLocks, kActiveLayerLocks, kBackingLayerLocks, kStreamTargetLocks,
                               kCommitMiddleLocks};
  for (const ImageLockSet& one : sets) {
    for (const ImageLockSet& other : sets) {
      const auto real_first = Open();
      const auto real_second = Open();
      const auto mem_first = root->Open("a", OpenMode::kReadWrite).value();
      const auto mem_second = root->Open("a", OpenMode::kReadWrite).value();
      ASSERT_TRUE(real_first->SetImageLocks(one));
      ASSERT_TRUE(mem_first->SetImageLocks(one));
      EXPECT_EQ(real_second->SetImageLocks(other).has_value(),
                mem_second->SetImageLocks(other).has_value());
    }
  }
}

}  // namespace
}  // namespace chainfs
