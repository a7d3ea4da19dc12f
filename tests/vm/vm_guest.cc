// SPDX-License-Identifier: Apache-2.0
//
// The only program of the guest of vm_test: its /init. It mounts the disk, keeps it busy, checks
// all that it reads, and does what lines on the serial console say:
//
//     verify       everything is read and compared           VM-REPLY verified
//     written      the last write of the table that ended    VM-REPLY 4711
//     stalls       the longest operations since asked        VM-REPLY write 1.2 read 0.9 flush 9.0
//     ... grow BYTES   once the disk has that size the file      VM-REPLY grown to BYTES
//                  system gets it
//     rest, go     unmounted and idle; mounted and busy      VM-REPLY rests, VM-REPLY goes
//     end          verifies, unmounts, switches off          VM-REPLY ends
//
// Whatever goes wrong at any time is said as VM-FAILED, and the machine goes off.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "tests/vm/console.h"
#include "tests/vm/file_load.h"
#include "tests/vm/table_load.h"

namespace chainfs::guest {
namespace {

constexpr const char* kDevice = "/dev/vda";
constexpr const char* kTop = "/mnt";
constexpr int kPatienceSeconds = 120;

void MakeDirectories() {
  ::mkdir(kTop, 0755);
  ::mkdir("/dev", 0755);
  if (::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr) != 0) Fail("mount of /dev");
}

void LoadModules() {
  std::ifstream order("/modules/order");
  for (std::string name; std::getline(order, name);) {
    if (!name.starts_with("virtio")) continue;
    const int fd = ::open(("/modules/" + name).c_str(), O_RDONLY);
    if (::syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST) Fail("module " + name);
    ::close(fd);
  }
}

// In bytes; 0 while it is not there.
uint64_t SizeOfDevice() {
  const int fd = ::open(kDevice, O_RDONLY);
  uint64_t size = 0;
  if (fd < 0 || ::ioctl(fd, BLKGETSIZE64, &size) != 0) size = 0;
  if (fd >= 0) ::close(fd);
  return size;
}

void WaitForDevice(uint64_t size) {
  for (int tenths = 0; size == 0 ? SizeOfDevice() == 0 : SizeOfDevice() != size; ++tenths) {
    errno = 0;
    if (tenths == kPatienceSeconds * 10) {
      Fail("the disk has " + std::to_string(SizeOfDevice()) + " bytes, not " +
           std::to_string(size));
    }
    ::usleep(100'000);
  }
}

class Guest {
 public:
  void Go() {
    // Removing files discards what they had.
    if (::mount(kDevice, kTop, "ext4", 0, "discard") != 0) Fail("mount");
    table_.Start();
    files_.Start();
  }
  void Rest() {
    table_.Stop();
    files_.Stop();
    ::sync();
    if (::umount(kTop) != 0) Fail("umount");
  }
  void Verify() {
    table_.Verify();
    files_.Verify();
  }
  void Grow(uint64_t size) {
    WaitForDevice(size);
    struct statfs before = {};
    struct statfs after = {};
    const int fd = ::open(kTop, O_RDONLY | O_DIRECTORY);
    if (fd < 0 || ::fstatfs(fd, &before) != 0) Fail(kTop);
    // EXT4_IOC_RESIZE_FS of fs/ext4/ext4.h, as resize2fs uses it: a number of blocks.
    uint64_t blocks = size / static_cast<uint64_t>(before.f_bsize);
    if (::ioctl(fd, _IOW('f', 16, uint64_t), &blocks) != 0) Fail("growth of the file system");
    if (::fstatfs(fd, &after) != 0 || after.f_blocks <= before.f_blocks) {
      Fail("the file system has not grown");
    }
    ::close(fd);
  }
  uint64_t written() const { return table_.written(); }
  std::string Stalls() {
    std::array<char, 100> text;
    const auto ms = [](Longest& longest) { return static_cast<double>(longest.Take()) / 1e3; };
    std::snprintf(text.data(), text.size(), "write %.1f read %.1f flush %.1f file %.1f",
                  ms(table_.writes()), ms(table_.reads()), ms(table_.flushes()),
                  ms(files_.writes()));
    return text.data();
  }

 private:
  TableLoad table_{kTop};
  FileLoad files_{kTop};
};

[[noreturn]] void Serve(Guest& guest) {
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "verify") {
      guest.Verify();
      Reply("verified");
    } else if (line == "written") {
      Reply(std::to_string(guest.written()));
    } else if (line == "stalls") {
      Reply(guest.Stalls());
    } else if (line.starts_with("grow ")) {
      guest.Grow(std::strtoull(line.c_str() + 5, nullptr, 10));
      Reply("grown to " + line.substr(5));
    } else if (line == "rest") {
      guest.Rest();
      Reply("rests");
    } else if (line == "go") {
      guest.Go();
      Reply("goes");
    } else if (line == "end") {
      guest.Verify();
      guest.Rest();
      Reply("ends");
      PowerOff();
    } else {
      Fail("what is \"" + line + "\"?");
    }
  }
  Fail("nobody speaks any more");
}

}  // namespace
}  // namespace chainfs::guest

int main() {
  using namespace chainfs::guest;
  MakeDirectories();
  LoadModules();
  WaitForDevice(0);
  const auto guest = std::make_unique<Guest>();
  guest->Go();
  Reply("goes");
  Serve(*guest);
}
