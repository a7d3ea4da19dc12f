// SPDX-License-Identifier: Apache-2.0
//
// Loop devices on a file that was resized: somebody must tell them, because the kernel does not
// (loop(4), LOOP_SET_CAPACITY).
//
// Threads: no state.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace chainfs {

struct BoundLoop {
  std::string device;   // "/dev/loop0"
  std::string backing;  // the path of its file when it was bound, as the kernel has it
};

// Those that are bound to a file. Asks no file system.
std::vector<BoundLoop> BoundLoops(const std::string& sys_block = "/sys/block");

enum class LoopAnswer : uint8_t {
  kOtherFile,
  kTold,     // it has the new size
  kNotYet,   // it took the size that the kernel remembers of the file, which is another one
  kRefused,  // the caller may not, or it would not listen
  kNoDevice,
};

// The bytes that a device with such an offset and limit (0: none) has on a file of `size` bytes.
uint64_t LoopCapacity(uint64_t size, uint64_t offset, uint64_t limit);

// Has it take the size of its file if that is the file `inode` of the file system `on`, which has
// `size` bytes. Asks the file system of the file, whichever that is, and so may wait for it.
LoopAnswer TellLoop(const std::string& device, dev_t on, uint64_t inode, uint64_t size);

}  // namespace chainfs
