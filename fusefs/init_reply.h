// SPDX-License-Identifier: Apache-2.0
//
// InitReply: adds FUSE_PARALLEL_DIROPS to the answer that libfuse gives to the kernel's first
// request. libfuse before 3.17 takes FUSE_CAP_PARALLEL_DIROPS and does not pass it on. Without it
// the kernel sends one look-up in a directory after the other (Linux, fs/fuse/inode.c,
// fuse_lock_inode): who looks for a name waits, and cannot be killed, for all who look for others.
//
// Threads: all methods, any thread.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace chainfs::fusefs {

class InitReply {
 public:
  // Of each request, as it was read from the kernel.
  void See(std::span<const std::byte> request);
  // Of each reply, as it is about to be written, header first; changes its bytes where they are.
  void Complete(std::span<const iovec> reply);

 private:
  std::atomic<bool> done_ = false;
  std::atomic<uint64_t> request_ = 0;  // 0: none that waits for its answer
};

}  // namespace chainfs::fusefs
