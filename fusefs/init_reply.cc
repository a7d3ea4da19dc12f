// SPDX-License-Identifier: Apache-2.0
#include "fusefs/init_reply.h"

#include <linux/fuse.h>

#include <algorithm>
#include <cstring>

namespace chainfs::fusefs {

void InitReply::See(std::span<const std::byte> request) {
  if (done_) return;
  struct {
    fuse_in_header header;
    fuse_init_in init;
  } asked = {};
  // Older kernels send less of `init` than is known here.
  std::memcpy(&asked, request.data(), std::min(request.size(), sizeof asked));
  const bool offered = (asked.init.flags & FUSE_PARALLEL_DIROPS) != 0;
  if (asked.header.opcode == FUSE_INIT && offered) request_ = asked.header.unique;
}

void InitReply::Complete(std::span<const iovec> reply) {
  if (request_ == 0) return;
  fuse_out_header header = {};
  if (reply.size() != 2 || reply[0].iov_len != sizeof header) return;
  std::memcpy(&header, reply[0].iov_base, sizeof header);
  if (header.unique != request_ || header.error != 0) return;
  request_ = 0;
  constexpr size_t kPlace = offsetof(fuse_init_out, flags);
  uint32_t flags = 0;
  // Shorter is one that only tells which version is spoken; the kernel asks again.
  if (reply[1].iov_len < kPlace + sizeof flags) return;
  auto* const place = static_cast<std::byte*>(reply[1].iov_base) + kPlace;
  std::memcpy(&flags, place, sizeof flags);
  flags |= FUSE_PARALLEL_DIROPS;
  std::memcpy(place, &flags, sizeof flags);
  done_ = true;
}

}  // namespace chainfs::fusefs
