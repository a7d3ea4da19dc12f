// SPDX-License-Identifier: Apache-2.0
//
// MemHost: a host in memory behind File and Directory, that can record what happens to it, fail on
// demand, and be copied. Every opening of one name reaches the same contents.
//
//   auto host = MemHost::Create();
//   auto directory = host->OpenRoot();          // a chainfs::Directory
//   host->StartRecording();  ...  auto recording = host->StopRecording();
//   for (CrashEnumerator crash(recording); ...)  // crash_enumerator.h
//
// What happens on a call: the hook (no lock held; it may block, to hold one thread at a point while
// another goes on), then the faults in the order of their adding, then the call itself.
//
// Like a real host, it forgets nothing while it runs: durability matters only to a recording, and
// to a failed sync that drops data.
//
// Threads: any, as for File; one mutex, never held in the hook. No symbolic links, no permissions.
#pragma once

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/io/directory.h"
#include "tests/support/host_tree.h"

namespace chainfs {

struct Fault {
  // Which calls it counts; empty: every call.
  std::function<bool(const HostCall&)> matches = {};
  uint64_t skip = 0;     // so many matching calls go well first
  bool forever = false;  // fail all later ones too, not just one
  int error = EIO;
  // Of a write: so many bytes reach the file in spite of the error (UINT64_MAX: all). Other changes
  // happen in spite of the error where this is not zero.
  uint64_t landed = 0;
  // Of a data sync: what was not durable is gone, as when the kernel drops dirty pages.
  bool drop_unsynced = false;
};

// Matchers: Fault{.matches = On(HostOp::kWrite, "a.qcow2"), .skip = 3}
std::function<bool(const HostCall&)> On(HostOp op);
std::function<bool(const HostCall&)> On(HostOp op, std::string name);
// Everything that changes a file or makes it durable; for "fail the n-th" loops.
bool IsMutation(const HostCall& call);

struct MemHostOptions {
  std::string root_path = "/mem";
  bool can_punch = true;
  bool can_copy_range = true;
  uint64_t capacity = UINT64_MAX;  // allocated bytes of all files; ENOSPC beyond
};

class MemHost : public std::enable_shared_from_this<MemHost> {
 public:
  static std::shared_ptr<MemHost> Create(MemHostOptions options = {});
  static std::shared_ptr<MemHost> FromTree(HostTree tree, MemHostOptions options = {});

  std::unique_ptr<Directory> OpenRoot();

  // Shortcuts of tests, past hooks, faults and recordings. They abort on a missing file.
  void PutFile(const std::string& name, std::span<const std::byte> contents);
  std::vector<std::byte> Contents(const std::string& name);
  bool Exists(const std::string& name);
  HostTree Snapshot();
  // Copies every file to, or from, a directory of the real host (sparse stays sparse).
  Status ExportTo(const std::string& real_directory);
  Status ImportFrom(const std::string& real_directory);

  // What is there now counts as durable.
  void StartRecording();
  std::shared_ptr<const Recording> StopRecording();
  // The number of events so far; a crash point (0 when not recording).
  uint64_t EventCount();
  // Puts a mark into the recording and returns its index. Mark begins a new epoch: crash states
  // that were visited before are visited again after it, because the test may now expect more of
  // them
  // ("guest flush returned"). Only while recording: otherwise both do nothing and return 0. Note is
  // for marks that only allow more ("guest write begins").
  uint64_t Mark(std::string text) { return AddMark(std::move(text), true); }
  uint64_t Note(std::string text) { return AddMark(std::move(text), false); }

  size_t AddFault(Fault fault);
  // How many matching calls a fault has seen.
  uint64_t FaultCalls(size_t fault) {
    const MutexLock lock(mutex_);
    return faults_.at(fault).calls;
  }
  // How many times it has struck.
  uint64_t FaultHits(size_t fault) {
    const MutexLock lock(mutex_);
    return faults_.at(fault).hits;
  }
  void ClearFaults() {
    const MutexLock lock(mutex_);
    faults_.clear();
  }
  // Called before every call; an errno other than 0 fails it. Empty: none.
  void SetHook(std::function<int(const HostCall&)> hook);
  void SetCapacity(uint64_t bytes) {
    const MutexLock lock(mutex_);
    capacity_ = bytes;
  }
  uint64_t AllocatedBytes();
  // Files open at the moment; to find leaks.
  uint64_t OpenFiles();

 private:
  friend class MemFile;
  friend class MemDirectory;

  struct ActiveFault {
    Fault fault;
    uint64_t calls = 0;
    uint64_t hits = 0;
  };
  struct OpenState {
    uint64_t count = 0;
    std::map<const void*, ImageLockSet> locks;
    SparseBytes durable;
  };
  // What a fault makes of a call.
  struct Verdict {
    int error = 0;
    uint64_t landed = 0;
    bool drop_unsynced = false;
  };

  MemHost(HostTree tree, MemHostOptions options);

  uint64_t AddMark(std::string text, bool new_epoch) EXCLUDES(mutex_);
  // Runs the hook and the faults. 0 or an errno.
  Verdict Ask(const HostCall& call) EXCLUDES(mutex_);
  void Record(HostEvent event) REQUIRES(mutex_);
  uint64_t Allocated() const REQUIRES(mutex_);
  Result<uint64_t> Resolve(uint64_t directory, const std::string& name) REQUIRES(mutex_);
  HostNode& NodeOf(const std::string& name) REQUIRES(mutex_);
  uint64_t NewNode(bool is_directory, mode_t permissions) REQUIRES(mutex_);

  const MemHostOptions options_;
  const dev_t device_;
  Mutex mutex_;
  HostTree tree_ GUARDED_BY(mutex_);
  std::map<uint64_t, OpenState> state_ GUARDED_BY(mutex_);
  std::map<uint64_t, timespec> modified_ GUARDED_BY(mutex_);  // of what was, since the start
  uint64_t next_inode_ GUARDED_BY(mutex_);
  uint64_t capacity_ GUARDED_BY(mutex_);
  std::vector<ActiveFault> faults_ GUARDED_BY(mutex_);
  std::function<int(const HostCall&)> hook_ GUARDED_BY(mutex_);
  std::shared_ptr<Recording> recording_ GUARDED_BY(mutex_);
};

}  // namespace chainfs
