// SPDX-License-Identifier: Apache-2.0
//
// WalkReferences: tells of everything that an image refers to, streaming: nothing of it is kept, so
// that the memory of a walk does not grow with the image. Only the refcount table and its blocks,
// which whoever compares them knows, are left out.
//
// The image is not trusted. Tables are read as often as they are named, because internal snapshots
// share them, but all together no more bytes of them than an image that occupies what this one does
// can need.
//
// Threads: plain function; the visitor is called from the threads of the runner, at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "blocklayer/base/task_runner.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/reference_window.h"
#include "blocklayer/io/file.h"

namespace chainfs::qcow2 {

// Of the tables of the disk itself, not of its snapshots: an entry whose COPIED flag must agree
// with a refcount.
struct FlaggedEntry {
  bool is_l1 = false;
  HostOffset at;          // where its descriptor lies
  uint64_t word = 0;      // the descriptor
  HostOffset host;        // what it names, as stored: maybe not aligned, maybe past the end
  bool external = false;  // it names a cluster of the data file, which is used once
  bool sound = false;     // its table looks like one: few entries, if any, are bad
  bool copied() const { return (word & kEntryCopied) != 0; }
};

class ReferenceVisitor {
 public:
  ReferenceVisitor() = default;
  virtual ~ReferenceVisitor() = default;
  ReferenceVisitor(const ReferenceVisitor&) = delete;
  ReferenceVisitor& operator=(const ReferenceVisitor&) = delete;

  // `bytes` > 0 from `host` on are referred to once more. Nothing is judged.
  virtual void Refer(ClusterUse use, std::string_view what, HostOffset host, uint64_t bytes) = 0;
  // Whether the entries of a table that lies there are to be told as flagged.
  virtual bool WantsFlagsOf(HostOffset table) const = 0;
  virtual Status Flagged(const FlaggedEntry& entry) = 0;
  // Something is wrong with an entry or a table.
  virtual void BadEntry(std::string text, bool unseen_by_qemu) = 0;
};

struct WalkControl {
  TaskRunner& runner;
  const std::atomic<bool>* stop = nullptr;             // true: kCancelled, soon
  std::function<void(uint32_t percent)> percent = {};  // called often, from any thread
};

// Of the disk itself.
struct WalkTotals {
  uint64_t allocated = 0;   // clusters
  uint64_t compressed = 0;  // of those
};

Result<WalkTotals> WalkReferences(File& file, const Qcow2Header& header, const WalkControl& control,
                                  ReferenceVisitor& visitor);

}  // namespace chainfs::qcow2
