// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/kernel_copy.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace chainfs {
namespace {

// Linux moves at most this much per call.
constexpr uint64_t kMostPerCall = 0x7ffff000;

// statfs(2), linux/magic.h and the kernel's sources: NFS, SMB (two), Ceph, FUSE.
constexpr std::array<uint32_t, 5> kRemoteMagics = {0x6969, 0xff534d42, 0xfe534d42, 0x00c36400,
                                                   0x65735546};

bool IsRemote(int fd) {
  struct statfs fs = {};
  return fstatfs(fd, &fs) == 0 &&
         std::ranges::find(kRemoteMagics, static_cast<uint32_t>(fs.f_type)) != kRemoteMagics.end();
}

// 0 or an errno. Whole blocks of the file system only.
int Clone(int from, uint64_t source_offset, int to, uint64_t offset, uint64_t length) {
  file_clone_range range = {
      .src_fd = from, .src_offset = source_offset, .src_length = length, .dest_offset = offset};
  while (ioctl(to, FICLONERANGE, &range) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

}  // namespace

int CopyWithinKernel(int from, uint64_t source_offset, int to, uint64_t offset, uint64_t length) {
  if (length == 0) return 0;  // which would mean "to the end" to Clone
  const int error = Clone(from, source_offset, to, offset, length);
  // EINVAL: not whole blocks; where others share, the odd one is copied.
  if (error == 0 || (error != EINVAL && !IsRemote(to))) return error;
  auto in = static_cast<off_t>(source_offset);
  auto out = static_cast<off_t>(offset);
  while (length > 0) {
    const size_t want = std::min(length, kMostPerCall);
    const ssize_t copied = copy_file_range(from, &in, to, &out, want, 0);
    if (copied == 0) return EINVAL;
    if (copied > 0) {
      length -= static_cast<uint64_t>(copied);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace chainfs
