// SPDX-License-Identifier: Apache-2.0
//
// Directories of the real host: names stay beneath, only regular files open, opening never hangs,
// and files are replaced atomically.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "blocklayer/io/posix.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

class PosixDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(temp_ / "in");
    std::filesystem::create_directory(temp_ / "in/sub");
    WriteTextFile(temp_ / "secret", "secret");
    WriteTextFile(temp_ / "in/a", "contents of a");
    WriteTextFile(temp_ / "in/sub/b", "b");
    auto opened = OpenPosixDirectory(temp_ / "in");
    ASSERT_TRUE(opened) << opened.error().message;
    directory_ = *std::move(opened);
  }

  void Link(const std::string& target, const std::string& name) {
    std::filesystem::create_symlink(target, temp_ / ("in/" + name));
  }

  // The kind of error of opening `name`, both ways; "opened" if it opened.
  std::string OpenOutcome(const std::string& name) {
    const auto read = directory_->Open(name, OpenMode::kReadOnly);
    const auto write = directory_->Open(name, OpenMode::kReadWrite);
    EXPECT_EQ(read.has_value(), write.has_value()) << name;
    if (read) return "opened";
    EXPECT_EQ(read.error().message.find('\n'), std::string::npos);
    EXPECT_EQ(read.error().kind, write.error().kind) << name;
    return std::string(ErrorKindName(read.error().kind));
  }

  TempDir temp_;
  std::unique_ptr<Directory> directory_;
};

TEST_F(PosixDirectoryTest, OpensFilesBeneath) {
  EXPECT_EQ(directory_->path(), temp_ / "in");
  EXPECT_EQ(directory_->ReadSmallFile("a").value(), "contents of a");
  EXPECT_EQ(directory_->ReadSmallFile("sub/b").value(), "b");
  EXPECT_EQ(directory_->ReadSmallFile("./sub//../a").value(), "contents of a");
  Link("sub/b", "link");
  Link("../in/a", "out-and-in");
  EXPECT_EQ(directory_->ReadSmallFile("link").value(), "b");
  EXPECT_EQ(OpenOutcome("missing"), "not-found");
  EXPECT_EQ(OpenOutcome("a/b"), "not-found");
  const auto sub = directory_->OpenDirectory("sub").value();
  EXPECT_EQ(sub->path(), temp_ / "in/sub");
  EXPECT_EQ(sub->ReadSmallFile("b").value(), "b");
  EXPECT_NE(sub->Id().value(), directory_->Id().value());
  EXPECT_EQ(sub->Open("../a", OpenMode::kReadOnly).error().kind, ErrorKind::kAccess);
}

TEST_F(PosixDirectoryTest, NoNameLeadsOutside) {
  Link("../secret", "relative");
  Link(temp_ / "secret", "absolute");
  Link(temp_.path(), "up");
  Link("/proc/self/root", "magic");
  Link("self-loop", "self-loop");
  EXPECT_EQ(OpenOutcome("../secret"), "access");
  EXPECT_EQ(OpenOutcome("sub/../../secret"), "access");
  EXPECT_EQ(OpenOutcome(temp_ / "secret"), "access");
  EXPECT_EQ(OpenOutcome(temp_ / "in/a"), "access");
  EXPECT_EQ(OpenOutcome("relative"), "access");
  EXPECT_EQ(OpenOutcome("absolute"), "access");
  EXPECT_EQ(OpenOutcome("up/secret"), "access");
  EXPECT_EQ(OpenOutcome("magic/etc/passwd"), "access");
  EXPECT_EQ(OpenOutcome("self-loop"), "access");
  EXPECT_EQ(directory_->OpenDirectory("..").error().kind, ErrorKind::kAccess);
  EXPECT_EQ(directory_->OpenDirectory("up").error().kind, ErrorKind::kAccess);
  EXPECT_FALSE(directory_->Create("../new", 0600));
  EXPECT_FALSE(directory_->Create("relative", 0600));
  EXPECT_FALSE(directory_->Rename("a", "../a"));
  EXPECT_FALSE(directory_->Rename("../secret", "b"));
  EXPECT_FALSE(directory_->Remove("../secret"));
  EXPECT_FALSE(directory_->Remove("up/secret"));
  EXPECT_FALSE(directory_->MakeDirectory("../new", 0700));
  EXPECT_FALSE(std::filesystem::exists(temp_ / "new"));
  EXPECT_EQ(ReadTextFile(temp_ / "secret"), "secret");
}

TEST_F(PosixDirectoryTest, MagicLinksAndOtherMountsAreRefused) {
  const int fd = ::open((temp_ / "secret").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  const auto proc = OpenPosixDirectory("/proc/self").value();
  EXPECT_EQ(proc->Open("fd/" + std::to_string(fd), OpenMode::kReadOnly).error().kind,
            ErrorKind::kAccess);
  ::close(fd);
  // /proc is a mount of its own.
  const auto root = OpenPosixDirectory("/").value();
  EXPECT_EQ(root->path(), "/");
  const auto other = root->Open("proc/version", OpenMode::kReadOnly);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kAccess);
  EXPECT_NE(other.error().message.find("another mount"), std::string::npos);
}

TEST_F(PosixDirectoryTest, OnlyRegularFilesOpenAndNothingHangs) {
  ASSERT_EQ(::mkfifo((temp_ / "in/fifo").c_str(), 0600), 0);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string socket_path = temp_ / "in/socket";
  ASSERT_LT(socket_path.size(), sizeof address.sun_path);
  std::strcpy(address.sun_path, socket_path.c_str());
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(socket);
  Link("/dev/null", "null");
  EXPECT_EQ(OpenOutcome("fifo"), "invalid-argument");
  EXPECT_EQ(OpenOutcome("socket"), "invalid-argument");
  EXPECT_EQ(OpenOutcome("sub"), "invalid-argument");
  EXPECT_EQ(OpenOutcome("."), "invalid-argument");
  EXPECT_EQ(OpenOutcome(""), "invalid-argument");
  EXPECT_EQ(OpenOutcome(std::string("a\0b", 3)), "invalid-argument");
  EXPECT_EQ(OpenOutcome("null"), "access");
  const auto devices = OpenPosixDirectory("/dev").value();
  EXPECT_EQ(devices->Open("null", OpenMode::kReadOnly).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(devices->Open("zero", OpenMode::kReadWrite).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(PosixDirectoryTest, CreateRenameRemove) {
  const auto made = directory_->Create("new", 0640);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(directory_->Create("new", 0640).error().kind, ErrorKind::kExists);
  ASSERT_TRUE(directory_->Rename("new", "sub/b"));
  EXPECT_EQ(directory_->ReadSmallFile("sub/b").value(), "");
  ASSERT_TRUE(directory_->Sync());
  ASSERT_TRUE(directory_->Remove("sub/b"));
  EXPECT_EQ(directory_->Remove("sub/b").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(directory_->Rename("sub/b", "x").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(directory_->Remove("sub/..").error().kind, ErrorKind::kInvalidArgument);
  ASSERT_TRUE(directory_->MakeDirectory("sub/deep", 0700));
  EXPECT_EQ(directory_->MakeDirectory("sub/deep", 0700).error().kind, ErrorKind::kExists);
  EXPECT_FALSE(directory_->Remove("sub/deep"));
}

TEST_F(PosixDirectoryTest, RenameNewReplacesNothing) {
  ASSERT_TRUE(directory_->Create("new", 0640));
  ASSERT_TRUE(directory_->Create("there", 0640));
  EXPECT_EQ(directory_->RenameNew("new", "there").error().kind, ErrorKind::kExists);
  Link("nowhere", "dangling");
  EXPECT_EQ(directory_->RenameNew("new", "dangling").error().kind, ErrorKind::kExists);
  ASSERT_TRUE(directory_->RenameNew("new", "sub/c"));
  EXPECT_EQ(directory_->ReadSmallFile("sub/c").value(), "");
  EXPECT_EQ(directory_->RenameNew("new", "other").error().kind, ErrorKind::kNotFound);
}

TEST_F(PosixDirectoryTest, ListsWithKinds) {
  Link("sub/b", "good-link");
  Link("../secret", "bad-link");
  Link("sub", "directory-link");
  ASSERT_EQ(::mkfifo((temp_ / "in/fifo").c_str(), 0600), 0);
  // Twice: a listing does not use up the directory.
  for (int round = 0; round < 2; ++round) {
    auto entries = directory_->List().value();
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    std::string text;
    for (const DirectoryEntry& entry : entries) {
      text += entry.name + (entry.is_file ? " file;" : entry.is_directory ? " dir;" : " other;");
    }
    EXPECT_EQ(text,
              "a file;bad-link other;directory-link other;fifo other;good-link file;sub dir;");
  }
}

TEST_F(PosixDirectoryTest, KeepsItsDirectoryWhateverBecomesOfTheName) {
  std::filesystem::rename(temp_ / "in", temp_ / "moved");
  std::filesystem::create_directory(temp_ / "in");
  EXPECT_EQ(directory_->ReadSmallFile("a").value(), "contents of a");
  ASSERT_TRUE(directory_->WriteFileAtomically("c", "c"));
  EXPECT_TRUE(std::filesystem::exists(temp_ / "moved/c"));
}

TEST_F(PosixDirectoryTest, WritesFilesAtomically) {
  ASSERT_TRUE(directory_->WriteFileAtomically("state", "one"));
  EXPECT_EQ(ReadTextFile(temp_ / "in/state"), "one");
  const auto before = directory_->Open("state", OpenMode::kReadOnly).value();
  // What a crash may have left behind is in nobody's way.
  WriteTextFile(temp_ / "in/.state.tmp", "half");
  ASSERT_TRUE(directory_->WriteFileAtomically("state", "two"));
  EXPECT_EQ(ReadTextFile(temp_ / "in/state"), "two");
  EXPECT_EQ(before->Size().value(), 3u);
  EXPECT_FALSE(std::filesystem::exists(temp_ / "in/.state.tmp"));
  EXPECT_EQ(directory_->WriteFileAtomically("sub/x", "").error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(directory_->WriteFileAtomically("..", "").error().kind, ErrorKind::kInvalidArgument);
  ASSERT_TRUE(directory_->WriteFileAtomically("empty", ""));
  EXPECT_EQ(directory_->ReadSmallFile("empty").value(), "");
}

TEST_F(PosixDirectoryTest, SmallFilesHaveALimit) {
  WriteTextFile(temp_ / "in/ten", "0123456789");
  EXPECT_EQ(directory_->ReadSmallFile("ten", 10).value(), "0123456789");
  EXPECT_EQ(directory_->ReadSmallFile("ten", 9).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(PosixDirectoryTest, PathsOfDirectories) {
  EXPECT_EQ(OpenPosixDirectory(temp_ / "in//sub/.")->get()->path(), temp_ / "in/sub");
  EXPECT_EQ(OpenPosixDirectory(temp_ / "in/")->get()->path(), temp_ / "in");
  EXPECT_EQ(OpenPosixDirectory(temp_ / "in/sub/..")->get()->path(),
            std::filesystem::canonical(temp_ / "in").string());
  EXPECT_EQ(OpenPosixDirectory(temp_ / "none").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(OpenPosixDirectory(temp_ / "secret").error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(OpenPosixDirectory("").error().kind, ErrorKind::kInvalidArgument);
  // Relative to where the process is, and a link as it is spelled.
  std::filesystem::create_symlink(temp_ / "in", temp_ / "link");
  EXPECT_EQ(OpenPosixDirectory(temp_ / "link")->get()->path(), temp_ / "link");
  EXPECT_TRUE(OpenPosixDirectory(".")->get()->path().starts_with("/"));
}

// Or an image behind a link would vanish from view, and what it is built on turn writable.
TEST_F(PosixDirectoryTest, WithoutRoomForOpenFilesAListFailsRatherThanLeavingLinksOut) {
  Link("a", "link");
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const int next = ::dup(0);
  ASSERT_GE(next, 0);
  ::close(next);
  // Room for the list itself and nothing else.
  const rlimit tight = {.rlim_cur = static_cast<rlim_t>(next) + 1, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto list = directory_->List();
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  ASSERT_FALSE(list);
  EXPECT_EQ(list.error().sys_errno, EMFILE);
  EXPECT_NE(list.error().message.find("in/link: cannot follow: too many open files; raise"),
            std::string::npos)
      << list.error().message;
  EXPECT_EQ(directory_->List()->size(), 3u);
}

// ---- Names that images give

class LocateTest : public PosixDirectoryTest {
 protected:
  void SetUp() override {
    PosixDirectoryTest::SetUp();
    fence_.directories = {{.id = *directory_->Id(), .path = "/known/in"}};
  }
  // The path of the place, in brackets when it is outside.
  std::string Locate(const std::string& name) {
    const auto place = directory_->Locate(name, fence_);
    if (!place) return std::string(ErrorKindName(place.error().kind));
    if (place->directory == nullptr) return "(" + place->path + ")";
    EXPECT_EQ(place->directory->path() + "/" + place->leaf, place->path);
    return place->path;
  }

  NameFence fence_;
};

TEST_F(LocateTest, GoesWhereTheKernelGoes) {
  std::filesystem::create_directories(temp_ / "in/sub/deep");
  Link("sub/deep", "link");
  Link(temp_ / "in/sub", "absolute");
  Link("../in/link", "twice");
  EXPECT_EQ(Locate("a"), "/known/in/a");
  EXPECT_EQ(Locate("./none"), "/known/in/none");
  EXPECT_EQ(Locate("link/../b"), "/known/in/sub/b");
  EXPECT_EQ(Locate("absolute//b"), "/known/in/sub/b");
  EXPECT_EQ(Locate("twice/x"), "/known/in/sub/deep/x");
  EXPECT_EQ(Locate(temp_ / "in/link/../../a"), "/known/in/a");
  EXPECT_EQ(Locate("../in/sub/../a"), "/known/in/a");
  const auto opened = directory_->Locate("link/../b", fence_);
  EXPECT_TRUE(opened->directory->Open(opened->leaf, OpenMode::kReadOnly));
}

TEST_F(LocateTest, SaysWhatIsOutsideAndOpensNothingThere) {
  std::filesystem::create_directory(temp_ / "out");
  Link("../out", "link");
  Link("..", "up");
  EXPECT_EQ(Locate("../secret"), "(" + temp_ / "secret" + ")");
  EXPECT_EQ(Locate("link/x"), "(" + temp_ / "out/x" + ")");
  EXPECT_EQ(Locate("up/secret"), "(" + temp_ / "secret" + ")");
  EXPECT_TRUE(directory_->Locate("link/x", fence_)->missing);
  EXPECT_FALSE(directory_->Locate("up/secret", fence_)->missing);
  fence_.open = true;
  EXPECT_EQ(Locate("link/x"), temp_ / "out/x");
}

TEST_F(LocateTest, RefusesWhatIsNoName) {
  Link("loop", "loop");
  EXPECT_EQ(Locate("none/x"), ErrorKindName(ErrorKind::kNotFound));
  EXPECT_EQ(Locate("none/../a"), ErrorKindName(ErrorKind::kNotFound));
  EXPECT_EQ(Locate("loop/x"), ErrorKindName(ErrorKind::kAccess));
  for (const char* name : {"", "/", "sub/", "sub/.", "sub/..", "..", "."}) {
    EXPECT_EQ(Locate(name), ErrorKindName(ErrorKind::kInvalidArgument)) << name;
  }
  EXPECT_EQ(Locate("a/x").find("/"), std::string::npos) << "a is no directory";
}

// A mount that nobody named may be a dead server's.
TEST_F(LocateTest, EntersOnlyMountsThatCannotMakeItWait) {
  Link("/proc/self/cwd", "magic");
  EXPECT_EQ(Locate("/proc/self/maps"), "(/proc/self/maps)");
  EXPECT_EQ(Locate("magic/x"), "(" + temp_ / "in/magic/x" + ")");
  const auto proc = OpenPosixDirectory("/proc/sys");
  ASSERT_TRUE(proc);
  for (const FileStat& stat : (*proc)->StatWay()) fence_.devices.insert(stat.id.device);
  fence_.directories.push_back({.id = *(*proc)->Id(), .path = "/proc/sys"});
  EXPECT_EQ(Locate("/proc/sys/kernel/x"), "/proc/sys/kernel/x");
  EXPECT_EQ(Locate("/proc/meminfo"), "(/proc/meminfo)");
  // What a mount hides is not beneath the directory that it hides.
  fence_.directories = {{.id = *(*OpenPosixDirectory("/"))->Id(), .path = "/"}};
  EXPECT_EQ(Locate("/proc/sys/x"), "(/proc/sys/x)");
}

}  // namespace
}  // namespace chainfs
