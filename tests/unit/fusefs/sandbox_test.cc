// SPDX-License-Identifier: Apache-2.0
//
// What a process can still do that has confined itself, and what not: each attempt is made in a
// child, without the sandbox and with it, so that it is the sandbox which refuses it. Also a
// resolver of backing names that is broken on purpose: it permits the whole host, and the kernel
// does not.
#include "fusefs/sandbox/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/landlock.h>
#include <sched.h>
#include <sys/capability.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

#include "blocklayer/base/unique_fd.h"
#include "blocklayer/catalog/catalog.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/io/posix.h"
#include "tests/support/temp_dir.h"

namespace chainfs::sandbox {
namespace {

// 0 or an errno.
using Attempt = std::function<int()>;

int ErrnoOf(long result) { return result >= 0 ? 0 : errno; }

int OpenErrno(const std::string& path, int flags) {
  const UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  return fd.valid() ? 0 : errno;
}

bool HasLandlock() {
  return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

class SandboxTest : public testing::Test {
 protected:
  void SetUp() override {
    WriteTextFile(images_ / "inside", "words");
    WriteTextFile(bases_ / "base", "words");
    WriteTextFile(outside_ / "secret", "words");
  }

  Policy ThePolicy() const {
    return {.written = {images_.path()}, .read = {bases_.path()}, .sockets = {}};
  }

  // What `attempt` says in a child of ours; -1 when it did not end by itself.
  int In(bool sandbox, const Attempt& attempt) const {
    const pid_t child = ::fork();
    if (child == 0) {
      if (sandbox && !Confine(ThePolicy())) ::_exit(254);
      ::_exit(attempt());
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  // Possible without the sandbox, and refused with `error` in it.
  void ExpectRefused(const char* what, int error, const Attempt& attempt) const {
    EXPECT_EQ(In(false, attempt), 0) << what;
    EXPECT_EQ(In(true, attempt), error) << what;
  }
  void ExpectPossible(const char* what, const Attempt& attempt) const {
    EXPECT_EQ(In(true, attempt), 0) << what;
  }

  const TempDir images_;
  const TempDir bases_;
  const TempDir outside_;
};

TEST_F(SandboxTest, FilesAreThoseOfThePolicy) {
  if (!HasLandlock()) GTEST_SKIP() << "this kernel has no Landlock";
  ExpectPossible("write", [&] { return OpenErrno(images_ / "inside", O_RDWR); });
  ExpectPossible("create", [&] { return OpenErrno(images_ / "new", O_RDWR | O_CREAT); });
  ExpectPossible("rename", [&] {
    return ErrnoOf(::rename((images_ / "new").c_str(), (images_ / "newer").c_str()));
  });
  ExpectPossible("remove", [&] { return ErrnoOf(::unlink((images_ / "newer").c_str())); });
  ExpectPossible("read", [&] { return OpenErrno(bases_ / "base", O_RDONLY); });
  ExpectRefused("write what is read", EACCES, [&] { return OpenErrno(bases_ / "base", O_RDWR); });
  ExpectRefused("read outside", EACCES, [&] { return OpenErrno(outside_ / "secret", O_RDONLY); });
  ExpectRefused("create outside", EACCES,
                [&] { return OpenErrno(outside_ / "planted", O_RDWR | O_CREAT); });
  ExpectRefused("read a password", EACCES, [] { return OpenErrno("/etc/shadow", O_RDONLY); });
  ExpectRefused("list the root", EACCES, [] { return OpenErrno("/", O_RDONLY | O_DIRECTORY); });
  const auto move_in = [&] {
    return ErrnoOf(::rename((outside_ / "bait").c_str(), (images_ / "bait").c_str()));
  };
  WriteTextFile(outside_ / "bait", "");
  EXPECT_EQ(In(true, move_in), EACCES);
  EXPECT_EQ(In(false, move_in), 0);
}

// By all ways that lead there.
TEST_F(SandboxTest, NoOtherNameLeadsOutside) {
  if (!HasLandlock()) GTEST_SKIP() << "this kernel has no Landlock";
  ASSERT_EQ(::symlink((outside_ / "secret").c_str(), (images_ / "link").c_str()), 0);
  ExpectRefused("a link", EACCES, [&] { return OpenErrno(images_ / "link", O_RDONLY); });
  ExpectRefused("upwards", EACCES, [&] {
    const std::string name = images_ / ".." + outside_.path().substr(outside_.path().rfind('/'));
    return OpenErrno(name + "/secret", O_RDONLY);
  });
  // A look without rights is no way in.
  ExpectRefused("what was only looked at", EACCES, [&] {
    const UniqueFd look(::open((outside_ / "secret").c_str(), O_PATH | O_CLOEXEC));
    return OpenErrno("/proc/self/fd/" + std::to_string(look.get()), O_RDONLY);
  });
  ExpectRefused("a directory that was only looked at", EACCES, [&] {
    const UniqueFd look(::open(outside_.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return ErrnoOf(::openat(look.get(), "secret", O_RDONLY | O_CLOEXEC));
  });
}

TEST_F(SandboxTest, NoProgramsMountsNorOtherProcesses) {
  const Attempt run = [] {
    ::execl("/bin/true", "true", nullptr);
    return errno;
  };
  EXPECT_EQ(In(false, run), 0);
#ifndef CHAINFS_SANITIZED
  EXPECT_EQ(In(true, run), EPERM);
  ExpectRefused("fork", EPERM, [] {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(0);
    return ErrnoOf(child);
  });
  ExpectRefused("a signal", EPERM, [] { return ErrnoOf(::kill(::getppid(), 0)); });
  ExpectRefused("TCP", EPERM, [] { return ErrnoOf(::socket(AF_INET, SOCK_STREAM, 0)); });
  ExpectRefused("a link", EPERM,
                [&] { return ErrnoOf(::symlink("/", (images_ / "planted").c_str())); });
  ExpectRefused("memory that is written and executed", EPERM, [] {
    return ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0) == MAP_FAILED
               ? errno
               : 0;
  });
  ExpectRefused("memory that is executed later", EPERM, [] {
    void* const memory =
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return ErrnoOf(::mprotect(memory, 4096, PROT_READ | PROT_EXEC));
  });
  const auto mount = [&] {
    return ErrnoOf(::mount("none", images_.path().c_str(), "tmpfs", 0, nullptr));
  };
  EXPECT_EQ(In(true, mount), EPERM);
  EXPECT_EQ(In(true, [] { return ErrnoOf(::ptrace(PTRACE_TRACEME, 0, 0, 0)); }), EPERM);
  EXPECT_EQ(In(true, [] { return ErrnoOf(::unshare(CLONE_NEWUSER)); }), ENOSYS);
  EXPECT_EQ(In(true, [] { return ErrnoOf(::ioctl(0, TIOCSTI, "x")); }), ENOSYS);
#endif
  ExpectPossible("a thread", [] {
    std::thread([] {}).join();
    return 0;
  });
  ExpectPossible("a table of files of its own", [] { return ErrnoOf(::unshare(CLONE_FILES)); });
  ExpectPossible("a local socket",
                 [] { return ErrnoOf(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); });
}

TEST_F(SandboxTest, CapabilitiesAreThoseForFilesOfOthers) {
  if (::geteuid() != 0) GTEST_SKIP() << "not root";
  const auto held = [](cap_flag_t set) {
    return [set] {
      int count = 0;
      const cap_t caps = ::cap_get_proc();
      for (cap_value_t cap = 0; cap < ::cap_max_bits(); ++cap) {
        cap_flag_value_t value = CAP_CLEAR;
        ::cap_get_flag(caps, cap, set, &value);
        if (value == CAP_SET) ++count;
      }
      ::cap_free(caps);
      return count;
    };
  };
  EXPECT_EQ(In(true, held(CAP_PERMITTED)), 4);
  EXPECT_EQ(In(true, held(CAP_EFFECTIVE)), 4);
  EXPECT_EQ(In(true, held(CAP_INHERITABLE)), 0);
  EXPECT_EQ(In(true, [] { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); }), 1);
  EXPECT_EQ(In(true, [] { return ::prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0); }), 0);
  // What they are for.
  WriteTextFile(images_ / "of another", "");
  ASSERT_EQ(::chown((images_ / "of another").c_str(), 4711, 4711), 0);
  ASSERT_EQ(::chmod((images_ / "of another").c_str(), 0600), 0);
  ExpectPossible("open", [&] { return OpenErrno(images_ / "of another", O_RDWR); });
  ExpectPossible("give away",
                 [&] { return ErrnoOf(::chown((images_ / "inside").c_str(), 4711, 4711)); });
}

// The names in a header are judged by us, and then by the kernel. Here the first judge is broken:
// it permits what the policy does not.
TEST_F(SandboxTest, ABrokenResolverReachesNothing) {
  if (!HasLandlock()) GTEST_SKIP() << "this kernel has no Landlock";
  ASSERT_EQ(::truncate((outside_ / "secret").c_str(), 1 << 20), 0);
  const auto directory = OpenPosixDirectory(images_.path());
  ASSERT_TRUE(directory);
  const BackingReference backing = {.name = outside_ / "secret", .format = "raw"};
  ASSERT_TRUE(CreateQcow2(**directory, "vm.qcow2", {.virtual_size = 1 << 20, .backing = backing}));
  const Attempt shown = [&] {
    const auto catalog =
        Catalog::Open({{.path = images_.path()}}, {.backing_dirs = {outside_.path()}});
    if (!catalog) return catalog.error().sys_errno;
    const std::vector<BrokenImage> broken = (*catalog)->Broken();
    return broken.empty() ? 0 : broken.front().error.sys_errno;
  };
  ExpectRefused("a backing file outside", EACCES, shown);
}

}  // namespace
}  // namespace chainfs::sandbox
