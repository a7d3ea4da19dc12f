// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/base/loop_devices.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "blocklayer/base/unique_fd.h"

namespace chainfs {

std::vector<BoundLoop> BoundLoops(const std::string& sys_block) {
  namespace fs = std::filesystem;
  std::vector<BoundLoop> loops;
  std::error_code failed;
  for (fs::directory_iterator at(sys_block, failed); !failed && at != fs::directory_iterator();
       at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (!name.starts_with("loop")) continue;
    std::ifstream in(at->path() / "loop" / "backing_file");
    std::string backing;
    std::getline(in, backing);
    if (!backing.empty()) loops.push_back({.device = "/dev/" + name, .backing = backing});
  }
  return loops;
}

uint64_t LoopCapacity(uint64_t size, uint64_t offset, uint64_t limit) {
  constexpr uint64_t kSector = 512;
  uint64_t bytes = size > offset ? size - offset : 0;
  if (limit != 0) bytes = std::min(bytes, limit);
  return bytes / kSector * kSector;
}

LoopAnswer TellLoop(const std::string& device, dev_t on, uint64_t inode, uint64_t size) {
  const UniqueFd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return LoopAnswer::kNoDevice;
  // Names change, and mount namespaces differ.
  struct loop_info64 info = {};
  if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) != 0 || info.lo_inode != inode ||
      info.lo_device != on) {
    return LoopAnswer::kOtherFile;
  }
  uint64_t bytes = 0;
  if (::ioctl(fd.get(), LOOP_SET_CAPACITY, 0) != 0 ||
      ::ioctl(fd.get(), BLKGETSIZE64, &bytes) != 0) {
    return LoopAnswer::kRefused;
  }
  const bool as_it_should = bytes == LoopCapacity(size, info.lo_offset, info.lo_sizelimit);
  return as_it_should ? LoopAnswer::kTold : LoopAnswer::kNotYet;
}

}  // namespace chainfs
