// SPDX-License-Identifier: Apache-2.0
//
// OpenFile: what fuse_file_info::fh points to, one for each open file or directory. The kernel
// releases it only after every request on it has been answered, so handlers use it without a lock.
//
// OpenFiles owns them all: a mount that is detached while files are open never sees their release.
//
// Threads: OpenFiles any; mu_ is held for set operations only.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "blocklayer/base/sync.h"
#include "ctl/control/text_stream.h"
#include "fusefs/events_file.h"
#include "fusefs/inodes.h"

namespace chainfs::fusefs {

// Exactly what its node's kind needs is set, so that requests on an open file never ask the inode
// table.
struct OpenFile {
  NodePtr node;
  bool writes = false;                          // kDisk
  DiskAccess::Ticket ticket;                    // kDisk
  WayIn way = WayIn::kCached;                   // kDisk: counted in Node::pages
  std::unique_ptr<EventsFile::Reader> reader;   // kEvents
  std::unique_ptr<control::TextStream> stream;  // the other virtual files
  std::vector<NodePtr> listed;                  // directories: as it was when they were opened
};

class OpenFiles {
 public:
  // The number for fuse_file_info::fh.
  uint64_t Add(std::unique_ptr<OpenFile> file) EXCLUDES(mu_) {
    const auto handle = static_cast<uint64_t>(reinterpret_cast<uintptr_t>(file.get()));
    const MutexLock lock(mu_);
    files_.emplace(handle, std::move(file));
    return handle;
  }
  std::unique_ptr<OpenFile> Take(uint64_t handle) EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    const auto found = files_.find(handle);
    if (found == files_.end()) return nullptr;
    std::unique_ptr<OpenFile> file = std::move(found->second);
    files_.erase(found);
    return file;
  }
  // While it is open.
  static OpenFile& At(uint64_t handle) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): libfuse keeps a number for us
    return *reinterpret_cast<OpenFile*>(static_cast<uintptr_t>(handle));
  }

 private:
  Mutex mu_;
  std::unordered_map<uint64_t, std::unique_ptr<OpenFile>> files_ GUARDED_BY(mu_);
};

}  // namespace chainfs::fusefs
