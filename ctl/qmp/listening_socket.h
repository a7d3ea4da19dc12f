// SPDX-License-Identifier: Apache-2.0
//
// ListeningSocket: a UNIX socket at a path, for its owner, and for a group if one is given. A
// socket that a daemon has left there when it was killed is replaced; anything else is not. Of
// several that come upon it at once one gets it: from the look at the name until it is listened to
// the directory is locked (flock).
//
// Threads: none; the descriptor may be used by any.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"

namespace chainfs::qmp {

class ListeningSocket {
 public:
  // `path` absolute, at most 107 bytes. kInvalidArgument, kBusy (somebody listens there), kExists
  // (something else is there), and what the system says.
  static Result<ListeningSocket> Open(const std::string& path, std::optional<gid_t> group);
  ListeningSocket(ListeningSocket&&) = default;
  ListeningSocket& operator=(ListeningSocket&&) = delete;
  // Removes the name, if it still leads to this socket.
  ~ListeningSocket();

  int fd() const { return fd_.get(); }  // non-blocking
  const std::string& path() const { return path_; }

 private:
  ListeningSocket(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  // Looks up what bind has made, and lets the group in.
  Status Adopt(std::optional<gid_t> group);

  UniqueFd fd_;
  std::string path_;
  dev_t device_ = 0;  // of the name
  ino_t inode_ = 0;
};

}  // namespace chainfs::qmp
