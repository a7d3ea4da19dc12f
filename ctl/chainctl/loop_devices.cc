// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/loop_devices.h"

#include <sys/stat.h>

#include "blocklayer/base/loop_devices.h"

namespace chainfs::chainctl {

ToldLoops TellLoopDevices(const std::string& path) {
  ToldLoops loops;
  // This also has the kernel learn the size.
  struct stat file = {};
  if (::stat(path.c_str(), &file) != 0) return loops;
  const auto size = static_cast<uint64_t>(file.st_size);
  for (const BoundLoop& loop : BoundLoops()) {
    switch (TellLoop(loop.device, file.st_dev, file.st_ino, size)) {
      case LoopAnswer::kOtherFile:
        break;
      case LoopAnswer::kTold:
        loops.told.push_back(loop.device);
        break;
      case LoopAnswer::kNotYet:
      case LoopAnswer::kRefused:
        loops.missed.push_back(loop.device);
        break;
      case LoopAnswer::kNoDevice:
        if (loop.backing == path) loops.missed.push_back(loop.device);
        break;
    }
  }
  return loops;
}

}  // namespace chainfs::chainctl
