// SPDX-License-Identifier: Apache-2.0
//
// The plain data that in-memory hosts, recordings and crash states are made of: trees of files,
// calls and events. An inode number names a file or directory for good; numbers are never reused.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/sparse_bytes.h"

namespace chainfs {

struct HostNode {
  bool is_directory = false;
  mode_t permissions = 0644;
  SparseBytes bytes;                        // of a file
  std::map<std::string, uint64_t> entries;  // of a directory: name -> inode
};

// A value: copying it takes a snapshot. Nodes that no name leads to do no harm.
struct HostTree {
  static constexpr uint64_t kRoot = 1;

  HostTree() { nodes[kRoot].is_directory = true; }
  // Of names, sizes and contents as seen from the root; inode numbers do not count.
  uint64_t Hash() const { return HashFrom(kRoot); }
  uint64_t HashFrom(uint64_t inode) const;

  std::map<uint64_t, HostNode> nodes;
};

enum class HostOp : uint8_t {
  kOpen,
  kCreate,
  kRename,
  kRemove,
  kMakeDirectory,
  kDirectorySync,
  kList,
  kRead,
  kWrite,
  kTruncate,
  kPunch,
  kZero,
  kCopy,
  kDataSync,
  kStat,
  kRunAt,
  kLock,
  kMark,    // events only: put there by the test
  kRevert,  // events only: a failed sync dropped the unsynced data
};

const char* HostOpName(HostOp op);

// What a caller is about to do; what faults and hooks match on.
struct HostCall {
  HostOp op = HostOp::kRead;
  std::string name = {};  // relative to the root, e.g. "a.qcow2" or "sub/b.raw"; "" for the root
  uint64_t offset = 0;
  uint64_t length = 0;  // bytes; of a truncate the new size
};

// What has changed the host, or made a change durable.
struct HostEvent {
  HostOp op = HostOp::kMark;
  uint64_t inode = 0;  // the file; of operations on names the directory
  uint64_t offset = 0;
  uint64_t length = 0;
  std::shared_ptr<const std::vector<std::byte>> data = {};  // kWrite, kCopy
  std::string name = {};                                    // operations on names, and for people
  uint64_t target = 0;        // kCreate, kMakeDirectory, kRename: the inode
  uint64_t to_directory = 0;  // kRename
  std::string to_name = {};   // kRename
  std::string text = {};      // kMark
  bool new_epoch = false;     // kMark

  std::string Describe() const;
};

struct Recording {
  HostTree base;  // taken as durable
  std::vector<HostEvent> events;

  // All events, a line each, for failure messages.
  std::string Describe() const;
};

}  // namespace chainfs
