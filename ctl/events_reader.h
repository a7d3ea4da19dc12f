// SPDX-License-Identifier: Apache-2.0
//
// EventsReader: one reader of MNT/.chainfs/events. It starts at the oldest retained event, so that
// whoever opens it before asking for a state misses nothing. Never blocks; wait with poll on fd().
#pragma once

#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/fd.h"

namespace chainfs {

class EventsReader {
 public:
  static Result<EventsReader> Open(const std::string& mount);

  int fd() const { return fd_.get(); }
  const std::string& mount() const { return mount_; }
  // The mount has shut down; there will be no more.
  bool at_end() const { return at_end_; }
  // What is there, one event a line, without the newlines; nothing when there is no news.
  Result<std::vector<std::string>> Read();

 private:
  EventsReader(Fd fd, std::string mount) : fd_(std::move(fd)), mount_(std::move(mount)) {}

  Fd fd_;
  std::string mount_;
  std::string partial_;  // the beginning of a line; empty while the daemon keeps its word
  bool at_end_ = false;
};

}  // namespace chainfs
