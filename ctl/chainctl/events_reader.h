// SPDX-License-Identifier: Apache-2.0
//
// EventsReader: one reader of MNT/.chainfs/events. It starts at the oldest retained event, so that
// whoever opens it before asking for a state misses nothing. Never blocks; wait with poll on fd().
#pragma once

#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"

namespace chainfs::chainctl {

class EventsReader {
 public:
  static Result<EventsReader> Open(const std::string& mount);

  int fd() const { return fd_.get(); }
  const std::string& mount() const { return mount_; }
  // There will be no more: the mount shuts down, or is to be unmounted, or the daemon died.
  bool at_end() const { return at_end_; }
  // The daemon went without a word (killed).
  bool died() const { return died_; }
  // What is there, one event per line, without the newlines; nothing when there is no news.
  Result<std::vector<std::string>> Read();

 private:
  EventsReader(UniqueFd fd, std::string mount) : fd_(std::move(fd)), mount_(std::move(mount)) {}

  UniqueFd fd_;
  std::string mount_;
  std::string partial_;  // the beginning of a line; empty while the daemon keeps its word
  bool at_end_ = false;
  bool died_ = false;
  bool shut_down_ = false;  // it has said so
};

}  // namespace chainfs::chainctl
