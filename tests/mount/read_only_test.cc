// SPDX-License-Identifier: Apache-2.0
//
// `-o ro` never writes a byte to any layer: not a dirty bit, not an autoclear bit, not a record.
// Extended attributes that are not ours, on a mount of either kind.
#include <filesystem>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

// Every file beneath `directory`, with its contents and time of change.
std::string Everything(const std::string& directory) {
  const std::string script =
      "cd \"$1\" && find . -printf '%p %s %m %T@ %C@\\n' | sort && "
      "find . -type f -print0 | sort -z | xargs -0 sha256sum";
  return MustRun({"/bin/sh", "-c", script, "sh", directory});
}

// A dirty image: QEMU was killed while lazy refcounts were on.
void MakeDirty(const std::string& path) {
  CreateQcow2(path, {.size = "4M", .options = "lazy_refcounts=on"});
  const CommandResult killed = RunCommand(
      {"qemu-io", "-f", "qcow2", "-c", "write -P 3 1M 128k", "-c", "flush", "-c", "abort", path});
  EXPECT_NE(killed.exit_code, 0);
}

// Sets bit 62 of the autoclear features, which nobody knows and a writer must clear.
void SetUnknownAutoclearBit(const std::string& path) {
  std::string image = ReadTextFile(path);
  image[88] = static_cast<char>(0x40);
  WriteTextFile(path, image);
}

TEST(ReadOnlyTest, NoByteIsWritten) {
  const TempDir dir;
  MakeDirty(dir / "dirty.qcow2");
  CreateQcow2(dir / "clear.qcow2", {.size = "4M"});
  QemuIo(dir / "clear.qcow2", "qcow2", {"write -P 4 0 64k"});
  SetUnknownAutoclearBit(dir / "clear.qcow2");
  CreateQcow2(dir / "overlay.qcow2", {.backing = "clear.qcow2"});
  WriteTextFile(dir / "flat.raw", std::string(65536, 'r'));
  const std::string before = Everything(dir.path());
  {
    Daemon daemon({dir.path()}, {"-o", "ro"});
    ASSERT_TRUE(daemon.serving()) << daemon.Log();
    for (const std::string name : {"dirty.raw", "clear.raw", "overlay.raw", "flat.raw"}) {
      const std::string disk = daemon / name;
      struct stat st = {};
      ASSERT_EQ(::stat(disk.c_str(), &st), 0) << name << daemon.Log();
      EXPECT_EQ(st.st_mode & 0222, 0u) << name;
      EXPECT_LT(::open(disk.c_str(), O_RDWR), 0);
      EXPECT_EQ(errno, EROFS) << name;
      EXPECT_EQ(::truncate(disk.c_str(), 1 << 24), -1);
      EXPECT_EQ(errno, EROFS) << name;
      for (const std::string verb : {"stream", "snapshot", "flush"}) {
        EXPECT_EQ(Order(disk, verb), EROFS) << name;
      }
      ReadTextFile(disk);
      EXPECT_EQ(Status(disk, "info")["read-only"], true);
    }
    EXPECT_EQ(ReadTextFile(daemon / "dirty.raw")[1 << 20], 3);
    EXPECT_EQ(ReadTextFile(daemon / "overlay.raw")[0], 4);
    EXPECT_EQ(ReadJson(daemon / ".chainfs/chains.json")["broken"].size(), 0u);
    EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  }
  EXPECT_EQ(Everything(dir.path()), before);
}

// A writable mount clears both bits, or leaves them as the format asks; QEMU finds nothing wrong.
TEST(ReadOnlyTest, AWritableMountRepairsWhatIsDirty) {
  const TempDir dir;
  MakeDirty(dir / "dirty.qcow2");
  CreateQcow2(dir / "clear.qcow2", {.size = "4M"});
  SetUnknownAutoclearBit(dir / "clear.qcow2");
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  // It is repaired in the background.
  EXPECT_TRUE(Eventually([&] { return ::access((daemon / "dirty.raw").c_str(), W_OK) == 0; }));
  for (const std::string name : {"dirty.raw", "clear.raw"}) {
    const OpenedFile file(daemon / name, O_RDWR);
    ASSERT_TRUE(file.valid()) << daemon.Log();
    EXPECT_EQ(::pwrite(file.get(), "new", 3, 0), 3);
    EXPECT_EQ(::fsync(file.get()), 0);
  }
  EXPECT_EQ(ReadTextFile(daemon / "dirty.raw")[1 << 20], 3);
  EXPECT_EQ(daemon.Stop().exit_code, 0) << daemon.Log();
  EXPECT_EQ(CheckImage(dir / "dirty.qcow2"), 0);
  EXPECT_EQ(CheckImage(dir / "clear.qcow2"), 0);
  EXPECT_EQ(ReadTextFile(dir / "dirty.qcow2")[79] & 1, 0);
  EXPECT_EQ(ReadTextFile(dir / "clear.qcow2")[88], 0);
}

// A directory on a read-only file system, for as long as the object lives.
class ReadOnlyView {
 public:
  explicit ReadOnlyView(const std::string& directory) {
    mounted_ = ::mount(directory.c_str(), view_.path().c_str(), nullptr, MS_BIND, nullptr) == 0;
    usable_ = mounted_ && ::mount(nullptr, view_.path().c_str(), nullptr,
                                  MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) == 0;
  }
  ~ReadOnlyView() {
    if (mounted_) ::umount2(view_.path().c_str(), MNT_DETACH);
  }
  ReadOnlyView(const ReadOnlyView&) = delete;
  ReadOnlyView& operator=(const ReadOnlyView&) = delete;

  bool usable() const { return usable_; }
  const std::string& path() const { return view_.path(); }

 private:
  const TempDir view_;
  bool mounted_ = false;
  bool usable_ = false;
};

TEST(ReadOnlyTest, AFileThatCannotBeWrittenSaysWhy) {
  const TempDir dir;
  CreateQcow2(dir / "c.qcow2", {.size = "4M"});
  const ReadOnlyView view(dir.path());
  if (!view.usable()) GTEST_SKIP() << "no bind mounts here";
  const Daemon daemon({view.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  EXPECT_EQ(Order(daemon / "c.raw", "snapshot"), EROFS);
  EXPECT_EQ(LastError(daemon / "c.raw"), "c is read-only: " + view.path() +
                                             "/c.qcow2 cannot be written (Read-only file system)");
}

TEST(ReadOnlyTest, EveryReadOnlyDiskSaysWhy) {
  const TempDir dir;
  CreateQcow2(dir / "base.qcow2", {.size = "4M"});
  CreateQcow2(dir / "vm.qcow2", {.backing = "base.qcow2"});
  CreateQcow2(dir / "kept.qcow2", {.size = "4M"});
  MustRun({"qemu-img", "snapshot", "-c", "s1", dir / "kept.qcow2"});
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const auto why = [&](const std::string& name) {
    return Status(daemon / (name + ".raw"), "info").value("read-only-reason", "");
  };
  EXPECT_EQ(why("base"), "vm is built on it");
  EXPECT_EQ(why("vm"), "");
  EXPECT_NE(why("kept@s1").find("snapshot"), std::string::npos) << why("kept@s1");
  EXPECT_EQ(Status(daemon / "kept@s1.raw", "info")["read-only"], true);
  const CommandResult list = RunCommand({BinaryPath("chainctl"), "list", daemon.path()});
  EXPECT_NE(list.out.find("note: kept@s1: read-only: " + why("kept@s1")), std::string::npos)
      << list.out;
  daemon.Stop();
  ASSERT_TRUE(daemon.Restart({"-o", "ro"})) << daemon.Log();
  EXPECT_EQ(why("vm"), "the mount is read-only");
}

TEST(NamedImageTest, AForbiddenBackingFileFailsTheMountWithTheCure) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "images");
  std::filesystem::create_directories(dir / "elsewhere");
  CreateQcow2(dir / "elsewhere/base.qcow2", {.size = "1M"});
  CreateQcow2(dir / "images/vm.qcow2", {.backing = "../elsewhere/base.qcow2"});
  {
    const Daemon refused({dir / "images/vm.qcow2"});
    EXPECT_FALSE(refused.serving());
    const std::string said = refused.Log() + refused.result().err;
    EXPECT_NE(said.find("-o backing_dir=" + (dir / "elsewhere")), std::string::npos) << said;
  }
  {
    const Daemon cured({dir / "images/vm.qcow2"}, {"-o", "backing_dir=" + (dir / "elsewhere")});
    EXPECT_TRUE(cured.serving()) << cured.Log();
  }
  const Daemon directory({dir / "images"});
  EXPECT_TRUE(directory.serving()) << "a bad image of a directory is no reason";
}

TEST(InodeNumberTest, AreTheSameInTheNextMount) {
  const TempDir dir;
  CreateQcow2(dir / "b.qcow2", {.size = "1M"});
  Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const auto number = [&](const std::string& name) {
    struct stat st = {};
    EXPECT_EQ(::stat((daemon / name).c_str(), &st), 0) << name;
    return st.st_ino;
  };
  const ino_t disk = number("b.raw");
  const ino_t map = number(".chainfs/map/b.json");
  EXPECT_NE(disk, map);
  for (const auto& entry : std::filesystem::directory_iterator(daemon.path())) {
    EXPECT_EQ(entry.path().filename(), "b.raw");
  }
  daemon.Stop();
  CreateQcow2(dir / "a.qcow2", {.size = "1M"});
  ASSERT_TRUE(daemon.Restart());
  EXPECT_EQ(number("b.raw"), disk);
  EXPECT_EQ(number(".chainfs/map/b.json"), map);
  EXPECT_NE(number("a.raw"), disk);
  // readdir says the same.
  const std::string listed = MustRun({"ls", "-i", daemon.path()});
  EXPECT_NE(listed.find(std::to_string(disk) + " b.raw"), std::string::npos) << listed;
  // Also after a snapshot, which moves the disk to another file.
  ASSERT_EQ(Order(daemon / "b.raw", "snapshot"), 0);
  EXPECT_EQ(number("b.raw"), disk);
  daemon.Stop();
  ASSERT_TRUE(daemon.Restart());
  EXPECT_EQ(number("b.raw"), disk);
}

TEST(ForeignAttributeTest, NothingIsStoredAndNothingListed) {
  const TempDir dir;
  CreateQcow2(dir / "vm.qcow2", {.size = "1M"});
  const Daemon daemon({dir.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  for (const std::string& path : {daemon / "vm.raw", daemon.path()}) {
    for (const std::string name :
         {"user.mine", "user.chainfsx.info", "trusted.libvirt.security.dac"}) {
      EXPECT_EQ(GetAttribute(path, name), "<ENODATA>") << name;
      EXPECT_EQ(SetAttribute(path, name, "value"), EOPNOTSUPP) << name;
      EXPECT_EQ(::removexattr(path.c_str(), name.c_str()), -1);
      EXPECT_EQ(errno, EOPNOTSUPP) << name;
    }
    EXPECT_EQ(GetAttribute(path, "security.capability"), "<ENODATA>");
    EXPECT_EQ(GetAttribute(path, "system.posix_acl_access"), "<EOPNOTSUPP>");
    char list[64] = {};
    EXPECT_EQ(::listxattr(path.c_str(), nullptr, 0), 0);
    EXPECT_EQ(::listxattr(path.c_str(), list, sizeof list), 0);
    EXPECT_EQ(::removexattr(path.c_str(), "user.chainfs.info"), -1);
    EXPECT_EQ(errno, EOPNOTSUPP);
  }
  // The size said first is enough afterwards.
  const std::string vm = daemon / "vm.raw";
  const ssize_t size = ::getxattr(vm.c_str(), "user.chainfs.info", nullptr, 0);
  ASSERT_GT(size, 0);
  std::string value(static_cast<size_t>(size), '\0');
  EXPECT_GT(::getxattr(vm.c_str(), "user.chainfs.info", value.data(), value.size()), 0);
  EXPECT_EQ(::getxattr(vm.c_str(), "user.chainfs.info", value.data(), 1), -1);
  EXPECT_EQ(errno, ERANGE);
}

TEST(ForeignAttributeTest, ListXattrsIsAChoice) {
  const TempDir dir;
  CreateQcow2(dir / "vm.qcow2", {.size = "1M"});
  const Daemon daemon({dir.path()}, {"-o", "list_xattrs"});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const std::string dump = MustRun({"getfattr", "-d", daemon / "vm.raw"});
  EXPECT_NE(dump.find("user.chainfs.chain="), std::string::npos) << dump;
  EXPECT_EQ(dump.find("user.chainfs.stream"), std::string::npos) << dump;
}

}  // namespace
}  // namespace chainfs
