// SPDX-License-Identifier: Apache-2.0
//
// Starting and ending: in the background with an exit code that tells, one clear line for what
// cannot work, the pid file, signals, unmounting, dead mounts, mount(8), two daemons on one image,
// and that nothing leaks.
#include <algorithm>
#include <filesystem>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;

bool IsMounted(const std::string& path) {
  constexpr auto kFuseMagic = 0x65735546;
  struct statfs found = {};
  return ::statfs(path.c_str(), &found) == 0 && found.f_type == kFuseMagic;
}

// A mount point that is left free whatever happened on it.
class MountPoint {
 public:
  ~MountPoint() { ::umount2(dir_.path().c_str(), MNT_DETACH); }
  const std::string& path() const { return dir_.path(); }
  std::string operator/(const std::string& name) const { return dir_ / name; }

 private:
  const TempDir dir_;
};

class LifecycleTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "vm.qcow2", {.size = "8M"});
    QemuIo(dir_ / "vm.qcow2", "qcow2", {"write -P 7 0 128k"});
  }
  CommandResult Chainfs(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), BinaryPath("chainfs"));
    return RunCommand(arguments);
  }
  void ExpectOneLine(const CommandResult& result, int exit_code, const std::string& about) const {
    EXPECT_EQ(result.exit_code, exit_code) << result.Describe();
    EXPECT_TRUE(result.err.starts_with("chainfs: ")) << result.Describe();
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.Describe();
    EXPECT_NE(result.err.find(about), std::string::npos) << result.Describe();
  }

  const TempDir dir_;
  const MountPoint mount_;
};

TEST_F(LifecycleTest, EveryWordOfFstabIsAccepted) {
  // All that mount(8) knows for any file system, and what it and systemd add.
  const std::string words =
      "async,sync,atime,noatime,auto,noauto,defaults,dev,nodev,diratime,nodiratime,dirsync,exec,"
      "noexec,group,nogroup,iversion,noiversion,mand,nomand,_netdev,nofail,relatime,norelatime,"
      "strictatime,nostrictatime,lazytime,nolazytime,suid,nosuid,silent,loud,owner,noowner,rw,"
      "user,nouser,user=alice,users,nousers,nosymfollow,symfollow,comment=c,x-systemd.automount,"
      "x-gvfs-show,X-mount.mkdir,x-a=b";
  const CommandResult started = Chainfs({"-o", words, dir_.path(), mount_.path()});
  EXPECT_EQ(started.exit_code, 0) << started.Describe();
  EXPECT_EQ(started.err, "");
  EXPECT_TRUE(IsMounted(mount_.path()));
  ExpectOneLine(Chainfs({"-o", "remount,ro", dir_.path(), mount_.path()}), 2,
                "remounting is not supported");
}

TEST_F(LifecycleTest, InTheBackgroundItServesWhenTheCommandReturns) {
  const TempDir run;
  const CommandResult started = Chainfs({"--pid-file", run / "pid", dir_.path(), mount_.path()});
  ASSERT_EQ(started.exit_code, 0) << started.Describe();
  EXPECT_TRUE(IsMounted(mount_.path()));
  EXPECT_EQ(ReadTextFile(mount_ / "vm.raw")[0], 7);
  const pid_t pid = std::atoi(ReadTextFile(run / "pid").c_str());
  ASSERT_GT(pid, 1);
  EXPECT_EQ(Status(mount_.path(), "config")["pid"], pid);
  ASSERT_EQ(::kill(pid, SIGTERM), 0);
  EXPECT_TRUE(Eventually([&] { return ::kill(pid, 0) != 0; }));
  EXPECT_FALSE(IsMounted(mount_.path()));
  EXPECT_FALSE(fs::exists(run / "pid"));
  EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
}

TEST_F(LifecycleTest, WhatCannotWorkIsSaidInOneLine) {
  const std::string missing = dir_ / "missing";
  WriteTextFile(dir_ / "file", "text");
  ExpectOneLine(Chainfs({}), 2, "usage");
  ExpectOneLine(Chainfs({dir_.path()}), 2, "usage");
  ExpectOneLine(Chainfs({"-o", "bogus", dir_.path(), mount_.path()}), 2, "bogus");
  ExpectOneLine(Chainfs({"-o", "ro,threads=0", dir_.path(), mount_.path()}), 2, "threads");
  ExpectOneLine(Chainfs({"-o", "uid=nobody-of-this-name", dir_.path(), mount_.path()}), 2, "uid");
  ExpectOneLine(Chainfs({"--frob", dir_.path(), mount_.path()}), 2, "--frob");
  ExpectOneLine(Chainfs({missing, mount_.path()}), 1, missing);
  ExpectOneLine(Chainfs({dir_.path(), missing}), 1, missing);
  ExpectOneLine(Chainfs({dir_.path(), dir_ / "file"}), 1, "file");
  ExpectOneLine(Chainfs({"-f", missing, mount_.path()}), 1, missing);
  // It would wait for itself.
  ExpectOneLine(Chainfs({dir_.path(), dir_.path()}), 1, "would hide");
  ExpectOneLine(Chainfs({dir_ / "vm.qcow2", dir_.path()}), 1, "would hide");
  fs::create_directory(mount_ / "beneath");
  ExpectOneLine(Chainfs({"-o", "backing_dir=" + mount_ / "beneath", dir_.path(), mount_.path()}), 1,
                "would hide");
  if (!fs::exists("/sys/fs/selinux")) {
    ExpectOneLine(Chainfs({"-o", "context=a:b:c:s0", dir_.path(), mount_.path()}), 1, "SELinux");
  }
  EXPECT_FALSE(IsMounted(mount_.path()));
  const CommandResult help = Chainfs({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_NE(help.out.find("metadata_memory="), std::string::npos);
  EXPECT_EQ(Chainfs({"--version"}).exit_code, 0);
}

TEST_F(LifecycleTest, SignalsAndUnmountingEndItCleanly) {
  for (const int how : {SIGTERM, SIGINT, SIGHUP, 0}) {
    SCOPED_TRACE(how);
    Daemon daemon({dir_.path()});
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    {
      const OpenedFile file(daemon / "vm.raw", O_RDWR);
      const std::string data(1 << 20, static_cast<char>(how + 1));
      EXPECT_EQ(::pwrite(file.get(), data.data(), data.size(), 1 << 20), 1 << 20);
    }
    if (how == 0) {
      EXPECT_EQ(daemon.Unmount().exit_code, 0) << daemon.Log();
    } else {
      ::kill(daemon.pid(), how);
      EXPECT_EQ(daemon.WaitForEnd().exit_code, 0) << daemon.Log();
    }
    EXPECT_FALSE(IsMounted(daemon.path()));
    EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
    const TempDir outside;
    Flatten(dir_ / "vm.qcow2", "qcow2", outside / "flat");
    EXPECT_EQ(ReadTextFile(outside / "flat")[1 << 20], static_cast<char>(how + 1));
  }
}

TEST_F(LifecycleTest, OpenFilesDoNotKeepItAlive) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const OpenedFile file(daemon / "vm.raw", O_RDWR);
  EXPECT_EQ(::pwrite(file.get(), "late", 4, 4096), 4);
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  EXPECT_FALSE(IsMounted(daemon.path()));
  char byte = 0;
  EXPECT_LT(::pread(file.get(), &byte, 1, 2 << 20), 0);
  EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
  const TempDir outside;
  Flatten(dir_ / "vm.qcow2", "qcow2", outside / "flat");
  EXPECT_EQ(ReadTextFile(outside / "flat").substr(4096, 4), "late");
}

TEST_F(LifecycleTest, ADeadMountIsCleanedAtTheStart) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  daemon.KillHard();
  struct stat st = {};
  EXPECT_EQ(::stat((daemon / "vm.raw").c_str(), &st), -1);
  EXPECT_EQ(errno, ENOTCONN);
  ASSERT_TRUE(daemon.Restart()) << daemon.Log();
  EXPECT_EQ(ReadTextFile(daemon / "vm.raw")[0], 7);
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  EXPECT_FALSE(IsMounted(daemon.path()));
}

// What mount(8) and fstab do: mount.fuse3 runs the program by its name, which is found in the
// default PATH only. A mount namespace of its own puts it there.
TEST_F(LifecycleTest, MountFindsItAsAFileSystemType) {
  constexpr const char* kScript = R"(
    set -e
    mount --make-rprivate /
    mount --bind "$1" /usr/local/sbin
    mount -t fuse.chainfs -o ro,noatime,_netdev,nofail,umask=027,x-a=b "$2" "$3"
    stat -c %a "$3/vm.raw"
    head -c 1 "$3/vm.raw" | od -An -tu1
    grep -c " $3 fuse.chainfs ro," /proc/self/mounts
    pid=$(getfattr --only-values --absolute-names -n user.chainfs.config "$3" | jq .pid)
    umount "$3"
    while [ -d "/proc/$pid" ]; do sleep 0.1; done
    echo ended)";
  const TempDir bin;
  fs::create_symlink(fs::absolute(BinaryPath("chainfs")), bin / "chainfs");
  const CommandResult result = RunCommand({"unshare", "--mount", "/bin/sh", "-c", kScript, "sh",
                                           bin.path(), dir_.path(), mount_.path()});
  EXPECT_EQ(result.exit_code, 0) << result.Describe();
  EXPECT_EQ(result.out, "440\n   7\n1\nended\n") << result.Describe();
}

TEST_F(LifecycleTest, TheSecondDaemonOnAnImageIsRefusedIt) {
  Daemon first({dir_.path()});
  ASSERT_TRUE(first.serving()) << first.Log();
  {
    Daemon second({dir_.path()});
    ASSERT_TRUE(second.serving()) << second.Log();
    EXPECT_FALSE(fs::exists(second / "vm.raw"));
    const Json broken = ReadJson(second / ".chainfs/chains.json")["broken"];
    ASSERT_EQ(broken.size(), 1u);
    EXPECT_NE(broken[0]["error"].get<std::string>().find("lock"), std::string::npos)
        << broken.dump();
    EXPECT_EQ(second.Stop().exit_code, 0) << second.Log();
  }
  EXPECT_EQ(ReadTextFile(first / "vm.raw")[0], 7);
  // Read-only sharing works both ways.
  EXPECT_EQ(first.Stop().exit_code, 0);
  ASSERT_TRUE(first.Restart({"-o", "ro"})) << first.Log();
  const Daemon second({dir_.path()}, {"-o", "ro"});
  ASSERT_TRUE(second.serving()) << second.Log();
  EXPECT_EQ(ReadTextFile(second / "vm.raw")[0], 7);
}

TEST_F(LifecycleTest, MountingOverALiveMountIsRefused) {
  const Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const TempDir other;
  ExpectOneLine(Chainfs({other.path(), daemon.path()}), 1, "mounted there already");
  EXPECT_EQ(ReadTextFile(daemon / "vm.raw")[0], 7);
}

TEST_F(LifecycleTest, ANamedImageThatCannotBeShownFailsTheStart) {
  const std::string bad = dir_ / "bad.qcow2";
  WriteTextFile(bad, "no image at all");
  ExpectOneLine(Chainfs({bad, mount_.path()}), 1, bad);
  EXPECT_FALSE(IsMounted(mount_.path()));
  // A directory that it lies in is shown without it.
  EXPECT_EQ(Chainfs({dir_.path(), mount_.path()}).exit_code, 0);
  EXPECT_TRUE(fs::exists(mount_ / "vm.raw"));
}

TEST_F(LifecycleTest, ANamedImageThatIsBeingCheckedAppearsLater) {
  const std::string image = dir_ / "vm.qcow2";
  {
    // Not closed cleanly: bit 0 of the incompatible features.
    const OpenedFile file(image, O_RDWR);
    char bits = 0;
    ASSERT_EQ(::pread(file.get(), &bits, 1, 79), 1);
    bits |= 1;
    ASSERT_EQ(::pwrite(file.get(), &bits, 1, 79), 1);
  }
  const CommandResult started = Chainfs({image, mount_.path()});
  ASSERT_EQ(started.exit_code, 0) << started.Describe();
  EXPECT_TRUE(Eventually([&] { return fs::exists(mount_ / "vm.raw"); }));
}

// Locks of QEMU's, as a VM has them, or an image that another chainfs has mounted.
TEST_F(LifecycleTest, ANamedImageThatIsInUseFailsTheStart) {
  const std::string image = dir_ / "vm.qcow2";
  {
    const OpenedFile vm(image, O_RDWR);
    struct flock lock = {};
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = 201;
    lock.l_len = 1;
    ASSERT_EQ(::fcntl(vm.get(), F_OFD_SETLK, &lock), 0);
    const auto begun = std::chrono::steady_clock::now();
    ExpectOneLine(Chainfs({image, mount_.path()}), 1, "locked by another process");
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5)) << "at once";
  }
  Daemon daemon({image});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  ExpectOneLine(Chainfs({image, mount_.path()}), 1, "another chainfs has it mounted");
  EXPECT_EQ(daemon.Stop().exit_code, 0);
}

TEST_F(LifecycleTest, MountingWorksRightAfterUnmounting) {
  const std::string image = dir_ / "vm.qcow2";
  const std::string data(4 << 20, 'x');
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    const CommandResult started = Chainfs({round % 2 == 0 ? image : dir_.path(), mount_.path()});
    ASSERT_EQ(started.exit_code, 0) << started.Describe();
    {
      // Something to be written before the image can be let go of.
      const OpenedFile file(mount_ / "vm.raw", O_RDWR);
      ASSERT_TRUE(file.valid()) << std::strerror(errno);
      EXPECT_EQ(::pwrite(file.get(), data.data(), data.size(), 0), std::ssize(data));
    }
    ASSERT_EQ(::umount2(mount_.path().c_str(), 0), 0) << std::strerror(errno);
  }
  EXPECT_TRUE(Eventually([&] { return CheckImage(image) == 0; }));
}

// Those that serve have one of /dev/fuse each, and come with load.
size_t OpenFiles(const std::string& proc) {
  size_t count = 0;
  std::error_code gone;
  for (const auto& entry : fs::directory_iterator(proc + "/fd")) {
    if (fs::read_symlink(entry.path(), gone) != "/dev/fuse") ++count;
  }
  return count;
}

size_t Threads(const std::string& proc) {
  const fs::directory_iterator all(proc + "/task");
  return static_cast<size_t>(std::distance(begin(all), end(all)));
}

TEST_F(LifecycleTest, OpeningAndClosingLeavesNothingBehind) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string proc = "/proc/" + std::to_string(daemon.pid());
  const auto round = [&] {
    for (const int flags : {O_RDONLY, O_RDWR, O_RDWR | O_DIRECT}) {
      const OpenedFile file(daemon / "vm.raw", flags);
      char byte = 0;
      EXPECT_EQ(::pread(file.get(), &byte, 1, 0), 1);
    }
    ReadTextFile(daemon / ".chainfs/chains.json");
    ReadTextFile(daemon / ".chainfs/map/vm.json");
    const OpenedFile events(daemon / ".chainfs/events", O_RDONLY | O_NONBLOCK);
    EXPECT_TRUE(events.valid());
  };
  for (int i = 0; i < 5; ++i) round();
  const size_t files = OpenFiles(proc);
  for (int i = 0; i < 50; ++i) round();
  // RELEASE comes after close() has returned.
  EXPECT_TRUE(Eventually([&] { return OpenFiles(proc) <= files; }));
  // Threads come with load, up to those that serve and those that work.
  EXPECT_LT(Threads(proc), 64u);
  // A snapshot and a stream give back what they took.
  ASSERT_EQ(Order(daemon / "vm.raw", "snapshot"), 0) << LastError(daemon / "vm.raw");
  StreamToEnd(daemon / "vm.raw");
  EXPECT_TRUE(Eventually([&] { return OpenFiles(proc) <= files + 2; }))
      << MustRun({"ls", "-l", proc + "/fd"});
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
}

TEST_F(LifecycleTest, Sigusr1LogsTheJobs) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  ASSERT_EQ(Order(daemon / "vm.raw", "snapshot", "id=named-here"), 0);
  ASSERT_EQ(::kill(daemon.pid(), SIGUSR1), 0);
  EXPECT_TRUE(Eventually([&] {
    return daemon.Log().find("\"id\":\"named-here\"") != std::string::npos;
  })) << daemon.Log();
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
}

}  // namespace
}  // namespace chainfs
