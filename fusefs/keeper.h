// SPDX-License-Identifier: Apache-2.0
//
// Keeper: a second process that does for the daemon what the daemon may not do once it has confined
// itself (sandbox/sandbox.h): mounting and unmounting this one mount, its knobs in /sys, the pid
// file, and telling loop devices. It looks at no image. What it can be asked is this list, on the
// mount point and the files of the command line; whoever takes over the daemon gets no more by it.
//
// It also guards the daemon's connection. SIGKILL does not end a thread that waits for our own
// mount (FS-19 in README.md); what it waits for nobody takes any more, and as long as it waits it
// keeps /dev/fuse, so the kernel would not give up either. The keeper sees that those who serve are
// gone by the end of its socket, which no other thread has open, aborts the connection, and ends.
//
// Threads: all methods, any thread, but Start.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/base/unique_fd.h"
#include "fusefs/loop_helper.h"
#include "fusefs/mount_table.h"
#include "fusefs/options.h"

namespace chainfs::fusefs {

class Keeper {
 public:
  // Before there is a second thread, and while we may still do all that it is for. `options` with
  // the mount point as PrepareMountpoint gave it.
  static Result<std::unique_ptr<Keeper>> Start(const Options& options);
  // It ends by itself; waits for that, but not for long.
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // Once: the file by which the mount is served. For failures, the line to print.
  Result<UniqueFd> Mount();
  // Invalid where there is none (blocklayer/base/abort_switch.h).
  UniqueFd AbortSwitch();
  // Nothing when what is mounted there is not ours any more. kBusy as mount_table.h has it.
  Status Unmount(UnmountMode mode);
  // Asks the kernel to write back what it holds of the mount's files.
  void Sync();
  void RaiseReadAhead(unsigned kibibytes);
  Status WritePidFile();
  void RemovePidFile();
  // Starts to tell them. What comes out of it ends when that has ended; before, it has "0" if all
  // were told. Invalid when nothing was started.
  UniqueFd TellLoops(const LoopTask& task);

  pid_t pid() const { return pid_; }

 private:
  Keeper(UniqueFd socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}
  // Where the answer comes; invalid when the keeper is gone.
  UniqueFd Ask(const std::vector<std::string>& words);
  // Waits for the answer. `file`, when given, gets the file that came with it.
  Status Command(const std::vector<std::string>& words, UniqueFd* file = nullptr);

  UniqueFd socket_;
  const pid_t pid_;
};

}  // namespace chainfs::fusefs
