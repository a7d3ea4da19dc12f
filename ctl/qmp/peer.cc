// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/peer.h"

#include <sys/socket.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace chainfs::qmp {
namespace {

constexpr size_t kMostGroups = 65536;  // of a process

// None when the kernel does not tell: then only the primary group counts.
std::vector<gid_t> GroupsOfPeer(int socket) {
  std::vector<gid_t> groups(64);
  for (;;) {
    auto bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return groups;
    }
    const size_t wanted = bytes / sizeof(gid_t);
    if (errno != ERANGE || wanted <= groups.size() || wanted > kMostGroups) return {};
    groups.resize(wanted);
  }
}

}  // namespace

Result<control::Caller> PeerOf(int socket) {
  ucred credentials = {};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    return FailErrno(errno, "SO_PEERCRED");
  }
  return control::Caller{.uid = credentials.uid,
                         .gid = credentials.gid,
                         .groups = [groups = GroupsOfPeer(socket)] { return groups; }};
}

}  // namespace chainfs::qmp
