// SPDX-License-Identifier: Apache-2.0
//
// Mounting by libfuse: what the options mean to it, and the connection that comes out of it, which
// another process serves (session.h).
//
// Threads: one at a time.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"
#include "fusefs/fuse_api.h"
#include "fusefs/options.h"

namespace chainfs::fusefs {

// A command line for fuse_session_new.
class LibfuseArguments {
 public:
  explicit LibfuseArguments(const Options& options);
  ~LibfuseArguments();
  LibfuseArguments(const LibfuseArguments&) = delete;
  LibfuseArguments& operator=(const LibfuseArguments&) = delete;

  fuse_args* get() { return &arguments_; }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
  fuse_args arguments_ = {};
};

// What libfuse has to say goes to our log from now on.
void LogFromLibfuse();

// Mounts on options.mountpoint, as root by mount(2), else by fusermount3. The mount stays until it
// is unmounted; nobody answers until the connection is served. For failures, the line to print.
Result<UniqueFd> MountConnection(const Options& options);

}  // namespace chainfs::fusefs
