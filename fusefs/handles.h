// SPDX-License-Identifier: Apache-2.0
//
// Handles: what fuse_file_info::fh points to, one for each open file or directory. The kernel
// releases a handle only after every request on it has been answered, so handlers use it without a
// lock.
#pragma once

#include <memory>
#include <vector>

#include "fusefs/events_file.h"
#include "fusefs/inodes.h"
#include "fusefs/text_stream.h"

namespace chainfs {

// Exactly what its node's kind needs is set, so that requests on an open file never ask the inode
// table.
struct OpenFile {
  NodePtr node;
  bool writes = false;                         // kDisk: counted in Disk::writers
  std::unique_ptr<EventsFile::Reader> reader;  // kEvents
  std::unique_ptr<TextStream> stream;          // the other virtual files
};

struct DirectoryHandle {
  std::vector<NodePtr> nodes;  // as listed when it was opened
};

template <typename Handle>
uint64_t ToFileHandle(std::unique_ptr<Handle> handle) {
  return reinterpret_cast<uintptr_t>(handle.release());
}

template <typename Handle>
Handle* FromFileHandle(uint64_t fh) {
  return reinterpret_cast<Handle*>(static_cast<uintptr_t>(fh));
}

}  // namespace chainfs
