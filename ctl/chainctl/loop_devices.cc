// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/loop_devices.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <system_error>

#include "blocklayer/base/unique_fd.h"

namespace chainfs::chainctl {
namespace {

namespace fs = std::filesystem;

// The name that the kernel knows the file by; empty: no such device, or none is bound.
std::string BackingFileOf(const fs::path& device) {
  std::ifstream in(device / "loop" / "backing_file");
  std::string name;
  std::getline(in, name);
  return name;
}

// Whether the device is really on that file: names change and mount namespaces differ.
bool IsOn(int device, const struct stat& file) {
  struct loop_info64 info = {};
  return ::ioctl(device, LOOP_GET_STATUS64, &info) == 0 && info.lo_inode == file.st_ino &&
         info.lo_device == file.st_dev;
}

}  // namespace

ToldLoops TellLoopDevices(const std::string& path) {
  ToldLoops loops;
  // This also has the kernel learn the size.
  struct stat file = {};
  if (::stat(path.c_str(), &file) != 0) return loops;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator("/sys/block", error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("loop")) continue;
    const std::string backing = BackingFileOf(entry.path());
    if (backing.empty()) continue;
    const std::string device = "/dev/" + name;
    const UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (fd.get() < 0) {
      if (backing == path) loops.missed.push_back(device);
      continue;
    }
    if (!IsOn(fd.get(), file)) continue;
    const bool told = ::ioctl(fd.get(), LOOP_SET_CAPACITY, 0) == 0;
    (told ? loops.told : loops.missed).push_back(device);
  }
  return loops;
}

}  // namespace chainfs::chainctl
