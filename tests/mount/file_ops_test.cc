// SPDX-License-Identifier: Apache-2.0
//
// What programs do with a file, done to a flat disk: reading and writing in every way, holes,
// sizes, attributes, and what is refused, with its errno.
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#include <cstdlib>

#include "tests/mount/control.h"

namespace chainfs {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kSize = 16 * kMiB;

// Evaluates to the errno of a call, 0 if it succeeds.
#define ERRNO_OF(call) ((call) >= 0 ? 0 : errno)

// vm.raw: an overlay of 16 MiB on base.qcow2, with data at 1 MiB (base) and 2 MiB (overlay).
class FileOpsTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(dir_ / "base.qcow2", {.size = "16M"});
    QemuIo(dir_ / "base.qcow2", "qcow2", {"write -P 1 1M 256k", "write -P 9 8M 64k"});
    CreateQcow2(dir_ / "vm.qcow2", {.backing = "base.qcow2"});
    QemuIo(dir_ / "vm.qcow2", "qcow2", {"write -P 2 2M 192k", "write -z 8M 64k"});
    daemon_ = std::make_unique<Daemon>(std::vector<std::string>{dir_.path()});
    ASSERT_TRUE(daemon_->serving()) << daemon_->Log();
    vm_ = *daemon_ / "vm.raw";
  }
  void TearDown() override {
    if (daemon_ == nullptr) return;
    EXPECT_EQ(daemon_->Stop().exit_code, 0) << daemon_->Log();
    EXPECT_EQ(CheckImage(dir_ / "vm.qcow2"), 0);
    EXPECT_EQ(CheckImage(dir_ / "base.qcow2"), 0);
  }

  struct stat Stat() const {
    struct stat st = {};
    EXPECT_EQ(::stat(vm_.c_str(), &st), 0);
    return st;
  }
  // One byte, past the page cache.
  int ByteAt(uint64_t offset) const {
    const OpenedFile file(vm_, O_RDONLY | O_DIRECT);
    alignas(4096) unsigned char block[512] = {};
    const auto start = static_cast<off_t>(offset / 512 * 512);
    EXPECT_EQ(::pread(file.get(), block, sizeof block, start), 512) << std::strerror(errno);
    return block[offset % 512];
  }

  const TempDir dir_;
  std::unique_ptr<Daemon> daemon_;
  std::string vm_;
};

TEST_F(FileOpsTest, ReadsEndAtTheEnd) {
  for (const int flags : {0, O_DIRECT}) {
    const OpenedFile file(vm_, O_RDONLY | flags);
    ASSERT_TRUE(file.valid());
    alignas(4096) static char block[8192];
    EXPECT_EQ(::pread(file.get(), block, 8192, static_cast<off_t>(kSize - 4096)), 4096);
    EXPECT_EQ(::pread(file.get(), block, 4096, static_cast<off_t>(kSize)), 0);
    EXPECT_EQ(::pread(file.get(), block, 4096, static_cast<off_t>(kSize + kMiB)), 0);
    EXPECT_EQ(::pread(file.get(), block, 4096, static_cast<off_t>(kMiB)), 4096);
    EXPECT_EQ(block[100], 1);
    EXPECT_EQ(::pread(file.get(), block, 4096, static_cast<off_t>(8 * kMiB)), 4096);
    EXPECT_EQ(block[100], 0);
  }
}

TEST_F(FileOpsTest, WritesInEveryWayAreRead) {
  struct Way {
    int flags;
    int value;
  };
  for (const Way way : {Way{0, 11}, Way{O_DIRECT, 12}, Way{O_SYNC, 13}, Way{O_DSYNC, 14},
                        Way{O_DIRECT | O_SYNC, 15}}) {
    const OpenedFile file(vm_, O_RDWR | way.flags);
    ASSERT_TRUE(file.valid());
    alignas(4096) static unsigned char block[4096];
    std::memset(block, way.value, sizeof block);
    // Across the edge of a cluster that holds nothing and one that does.
    const auto where = static_cast<off_t>(kMiB + static_cast<uint64_t>(way.value) * 65536 - 2048);
    EXPECT_EQ(::pwrite(file.get(), block, 4096, where), 4096) << std::strerror(errno);
    EXPECT_EQ(::fsync(file.get()), 0);
    EXPECT_EQ(::fdatasync(file.get()), 0);
    EXPECT_EQ(ByteAt(static_cast<uint64_t>(where)), way.value);
    EXPECT_EQ(ByteAt(static_cast<uint64_t>(where) + 4095), way.value);
    EXPECT_NE(ByteAt(static_cast<uint64_t>(where) + 4096), way.value);
    // And by a buffered reader.
    unsigned char seen = 0;
    const OpenedFile reader(vm_, O_RDONLY);
    EXPECT_EQ(::pread(reader.get(), &seen, 1, where), 1);
    EXPECT_EQ(seen, way.value);
  }
  // Odd offsets and lengths.
  const OpenedFile file(vm_, O_RDWR);
  EXPECT_EQ(::pwrite(file.get(), "hello", 5, 3 * 1048576 + 65533), 5);
  ASSERT_EQ(::fsync(file.get()), 0);
  EXPECT_EQ(ByteAt(3 * kMiB + 65532), 0);
  EXPECT_EQ(ByteAt(3 * kMiB + 65533), 'h');
  EXPECT_EQ(ByteAt(3 * kMiB + 65537), 'o');
}

TEST_F(FileOpsTest, TheEndIsThatOfADevice) {
  for (const int flags : {0, O_DIRECT}) {
    const OpenedFile file(vm_, O_RDWR | flags);
    alignas(4096) static char block[8192] = "x";
    EXPECT_EQ(ERRNO_OF(::pwrite(file.get(), block, 4096, static_cast<off_t>(kSize))), ENOSPC);
    // Part of it fits.
    const ssize_t put = ::pwrite(file.get(), block, 8192, static_cast<off_t>(kSize - 4096));
    EXPECT_TRUE(put == 4096 || (put < 0 && errno == ENOSPC)) << put << " " << errno;
  }
  EXPECT_EQ(static_cast<uint64_t>(Stat().st_size), kSize);
}

TEST_F(FileOpsTest, MappingsAreCoherent) {
  const OpenedFile file(vm_, O_RDWR);
  void* const mapped = ::mmap(nullptr, kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(),
                              static_cast<off_t>(kMiB));
  ASSERT_NE(mapped, MAP_FAILED);
  auto* const bytes = static_cast<unsigned char*>(mapped);
  EXPECT_EQ(bytes[5], 1);
  const unsigned char seven = 7;
  ASSERT_EQ(::pwrite(file.get(), &seven, 1, static_cast<off_t>(kMiB + 5)), 1);
  EXPECT_EQ(bytes[5], 7);
  bytes[600000] = 8;
  unsigned char seen = 0;
  ASSERT_EQ(::pread(file.get(), &seen, 1, static_cast<off_t>(kMiB + 600000)), 1);
  EXPECT_EQ(seen, 8);
  ASSERT_EQ(::msync(mapped, kMiB, MS_SYNC), 0);
  EXPECT_EQ(ByteAt(kMiB + 600000), 8);
  ::munmap(mapped, kMiB);
}

// SEEK_DATA and SEEK_HOLE tell what `qemu-img map` tells.
TEST_F(FileOpsTest, HolesAreWhereQemuSaysTheyAre) {
  const OpenedFile file(vm_, O_RDONLY);
  std::vector<std::pair<off_t, off_t>> found;
  for (off_t at = 0;;) {
    const off_t data = ::lseek(file.get(), at, SEEK_DATA);
    if (data < 0) break;
    at = ::lseek(file.get(), data, SEEK_HOLE);
    found.emplace_back(data, at);
    ASSERT_LE(found.size(), 100u);
  }
  EXPECT_EQ(errno, ENXIO);
  EXPECT_EQ(ERRNO_OF(::lseek(file.get(), static_cast<off_t>(kSize), SEEK_HOLE)), ENXIO);
  std::vector<std::pair<off_t, off_t>> expected;
  const Json map =
      Json::parse(MustRun({"qemu-img", "map", "-U", "--output=json", dir_ / "vm.qcow2"}));
  for (const Json& extent : map) {
    if (!extent["data"]) continue;
    const off_t start = extent["start"];
    const off_t end = start + extent["length"].get<off_t>();
    if (!expected.empty() && expected.back().second == start) {
      expected.back().second = end;
    } else {
      expected.emplace_back(start, end);
    }
  }
  EXPECT_EQ(found, expected);
}

TEST_F(FileOpsTest, PunchingAndZeroing) {
  constexpr auto kAt = static_cast<off_t>(2 * kMiB);
  const OpenedFile file(vm_, O_RDWR);
  const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  EXPECT_EQ(ERRNO_OF(::fallocate(file.get(), punch, kAt, 65536)), 0);
  // A hole in the overlay must not show the base, nor one byte too much.
  EXPECT_EQ(ERRNO_OF(::fallocate(file.get(), punch, static_cast<off_t>(kMiB) + 10, 1000)), 0);
  EXPECT_EQ(ByteAt(2 * kMiB), 0);
  EXPECT_EQ(ByteAt(2 * kMiB + 65536), 2);
  EXPECT_EQ(ByteAt(kMiB + 9), 1);
  EXPECT_EQ(ByteAt(kMiB + 10), 0);
  EXPECT_EQ(ByteAt(kMiB + 1009), 0);
  EXPECT_EQ(ByteAt(kMiB + 1010), 1);
  EXPECT_GT(::lseek(file.get(), kAt, SEEK_DATA), kAt);
  EXPECT_EQ(ERRNO_OF(::fallocate(file.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                                 kAt + 65536, 65536)),
            0);
  EXPECT_EQ(ByteAt(2 * kMiB + 65536), 0);
  EXPECT_EQ(ByteAt(2 * kMiB + 131072), 2);
  // A buffered reader that has seen the old bytes sees the new.
  unsigned char seen = 1;
  EXPECT_EQ(::pread(file.get(), &seen, 1, kAt), 1);
  EXPECT_EQ(seen, 0);
  for (const int mode : {FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, 0}) {
    EXPECT_EQ(ERRNO_OF(::fallocate(file.get(), mode, kAt, 65536)), EOPNOTSUPP) << mode;
  }
  EXPECT_EQ(::posix_fallocate(file.get(), kAt, 65536), 0);
  EXPECT_EQ(static_cast<uint64_t>(Stat().st_size), kSize);
  EXPECT_EQ(ERRNO_OF(::fallocate(file.get(), FALLOC_FL_ZERO_RANGE, static_cast<off_t>(kSize - 4096),
                                 8192)),
            0);
  EXPECT_EQ(static_cast<uint64_t>(Stat().st_size), kSize + 4096);
}

TEST_F(FileOpsTest, BlocksAreTruthful) {
  const auto before = static_cast<uint64_t>(Stat().st_blocks) * 512;
  EXPECT_LT(before, 4 * kMiB);
  EXPECT_GT(before, 192u << 10);
  const OpenedFile file(vm_, O_RDWR);
  const std::string data(4 * kMiB, 'd');
  ASSERT_EQ(::pwrite(file.get(), data.data(), data.size(), 10 * 1048576), 4 * 1048576);
  ASSERT_EQ(::fsync(file.get()), 0);
  const auto full = static_cast<uint64_t>(Stat().st_blocks) * 512;
  EXPECT_GE(full, before + 4 * kMiB);
  EXPECT_LE(full, before + 5 * kMiB);
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10 * 1048576,
                        4 * 1048576),
            0);
  // The host gets space back when nobody can be reading it any more, a few flushes later.
  EXPECT_TRUE(Eventually([&] {
    struct statx st = {};
    return ::fsync(file.get()) == 0 &&
           ::statx(AT_FDCWD, vm_.c_str(), AT_STATX_FORCE_SYNC, STATX_BLOCKS, &st) == 0 &&
           st.stx_blocks * 512 <= before + kMiB;
  }));
}

TEST_F(FileOpsTest, SizesGrowAndNeverShrink) {
  EXPECT_EQ(ERRNO_OF(::truncate(vm_.c_str(), static_cast<off_t>(kSize))), 0);
  EXPECT_EQ(ERRNO_OF(::truncate(vm_.c_str(), static_cast<off_t>(kSize - 512))), EPERM);
  EXPECT_EQ(ERRNO_OF(::truncate(vm_.c_str(), 0)), EPERM);
  EXPECT_EQ(ERRNO_OF(::truncate(vm_.c_str(), static_cast<off_t>(3 * kSize))), 0);
  EXPECT_EQ(static_cast<uint64_t>(Stat().st_size), 3 * kSize);
  EXPECT_EQ(Status(vm_, "info")["virtual-size"], 3 * kSize);
  EXPECT_EQ(ByteAt(2 * kSize), 0);
  const OpenedFile file(vm_, O_RDWR);
  EXPECT_EQ(::pwrite(file.get(), "end", 3, static_cast<off_t>(3 * kSize - 3)), 3);
  ASSERT_EQ(::fsync(file.get()), 0);
  EXPECT_EQ(ByteAt(3 * kSize - 1), 'd');
  EXPECT_EQ(ByteAt(kMiB), 1);
}

// `cp backup.raw MNT/vm.raw` must not wipe the disk.
TEST_F(FileOpsTest, OpeningDoesNotTruncate) {
  EXPECT_EQ(ERRNO_OF(::open(vm_.c_str(), O_WRONLY | O_TRUNC)), EPERM);
  EXPECT_EQ(ERRNO_OF(::open(vm_.c_str(), O_RDONLY | O_TRUNC)), EPERM);
  const TempDir backup;
  WriteTextFile(backup / "vm.raw", "short");
  EXPECT_NE(RunCommand({"cp", backup / "vm.raw", vm_}).exit_code, 0);
  EXPECT_NE(RunCommand({"cp", "-a", backup / "vm.raw", vm_}).exit_code, 0);
  EXPECT_NE(RunCommand({"cp", "--remove-destination", backup / "vm.raw", vm_}).exit_code, 0);
  EXPECT_NE(RunCommand({"mv", backup / "vm.raw", vm_}).exit_code, 0);
  EXPECT_NE(RunCommand({"/bin/sh", "-c", "echo >\"$1\"", "sh", vm_}).exit_code, 0);
  EXPECT_EQ(static_cast<uint64_t>(Stat().st_size), kSize);
  EXPECT_EQ(ByteAt(kMiB), 1);
  EXPECT_EQ(ByteAt(2 * kMiB), 2);
}

TEST_F(FileOpsTest, NamesAreMadeElsewhere) {
  const std::string other = *daemon_ / "other.raw";
  EXPECT_EQ(ERRNO_OF(::open(other.c_str(), O_RDWR | O_CREAT, 0644)), EPERM);
  EXPECT_EQ(ERRNO_OF(::unlink(vm_.c_str())), EPERM);
  EXPECT_EQ(ERRNO_OF(::rename(vm_.c_str(), other.c_str())), EPERM);
  EXPECT_EQ(ERRNO_OF(::link(vm_.c_str(), other.c_str())), EPERM);
  EXPECT_EQ(ERRNO_OF(::symlink("x", other.c_str())), EPERM);
  EXPECT_EQ(ERRNO_OF(::mkdir(other.c_str(), 0755)), EPERM);
  EXPECT_EQ(ERRNO_OF(::mkfifo(other.c_str(), 0644)), EPERM);
  EXPECT_EQ(ERRNO_OF(::rmdir((*daemon_ / ".chainfs").c_str())), EPERM);
  EXPECT_EQ(ERRNO_OF(::unlink((*daemon_ / ".chainfs/events").c_str())), EPERM);
  // An open with O_CREAT of what exists is an open.
  EXPECT_TRUE(OpenedFile(vm_, O_RDWR | O_CREAT).valid());
  const OpenedFile file(vm_, O_RDWR);
  int size = 0;
  EXPECT_EQ(ERRNO_OF(::ioctl(file.get(), BLKSSZGET, &size)), ENOTTY);
  EXPECT_EQ(ERRNO_OF(::ioctl(file.get(), FICLONE, file.get())), EOPNOTSUPP);
}

TEST_F(FileOpsTest, ModesOwnersAndTimesAreKept) {
  ASSERT_EQ(::chmod(vm_.c_str(), 0600), 0);
  ASSERT_EQ(::chown(vm_.c_str(), 64055, 65534), 0);
  const timespec times[2] = {{.tv_sec = 1'000'000, .tv_nsec = 1},
                             {.tv_sec = 2'000'000, .tv_nsec = 2}};
  ASSERT_EQ(::utimensat(AT_FDCWD, vm_.c_str(), times, 0), 0);
  const struct stat kept = Stat();
  EXPECT_EQ(kept.st_mode, static_cast<mode_t>(S_IFREG | 0600));
  EXPECT_EQ(kept.st_uid, 64055u);
  EXPECT_EQ(kept.st_gid, 65534u);
  EXPECT_EQ(kept.st_mtim.tv_sec, 2'000'000);
  // What the guest writes is newer.
  const OpenedFile file(vm_, O_RDWR);
  ASSERT_EQ(::pwrite(file.get(), "x", 1, 0), 1);
  ASSERT_EQ(::fsync(file.get()), 0);
  EXPECT_GT(Stat().st_mtim.tv_sec, 2'000'000);
  EXPECT_EQ(ERRNO_OF(::chmod((*daemon_ / "base.raw").c_str(), 0644)), EROFS);
  struct statvfs fs = {};
  ASSERT_EQ(::statvfs(vm_.c_str(), &fs), 0);
  EXPECT_GT(fs.f_blocks, 0u);
  EXPECT_GE(fs.f_bsize, 4096u);
}

TEST_F(FileOpsTest, InodesAreStable) {
  const ino_t number = Stat().st_ino;
  struct stat base = {};
  ASSERT_EQ(::stat((*daemon_ / "base.raw").c_str(), &base), 0);
  EXPECT_NE(number, base.st_ino);
  ASSERT_EQ(Order(vm_, "snapshot"), 0) << LastError(vm_);
  EXPECT_EQ(Stat().st_ino, number);
  EXPECT_EQ(LayersOf(vm_).size(), 3u);
}

TEST_F(FileOpsTest, NothingIsReadAheadOfOpenFailures) {
  EXPECT_EQ(ERRNO_OF(::open((*daemon_ / "nothing.raw").c_str(), O_RDONLY)), ENOENT);
  EXPECT_EQ(ERRNO_OF(::open((*daemon_ / "base.raw").c_str(), O_RDWR)), EROFS);
  EXPECT_EQ(ERRNO_OF(::open((vm_ + "/x").c_str(), O_RDONLY)), ENOTDIR);
  EXPECT_EQ(ERRNO_OF(::open((*daemon_ / ".chainfs/chains.json").c_str(), O_RDWR)), EPERM);
}

}  // namespace
}  // namespace chainfs
