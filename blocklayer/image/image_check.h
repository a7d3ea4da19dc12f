// SPDX-License-Identifier: Apache-2.0
//
// What checking an image finds, and how it is to be done, whatever the format. The numbers are
// those of `qemu-img check`.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "blocklayer/base/task_runner.h"

namespace chainfs {

// What may be changed. kLeaks: refcounts are lowered to what refers to the cluster. kAll: refcounts
// are made right, whatever they were, and the flags that follow from them.
enum class ImageRepair : uint8_t { kNone, kLeaks, kAll };

struct ImageCheckReport {
  uint64_t corruptions = 0;   // references without enough refcount, overlaps, bad entries and flags
  uint64_t leaks = 0;         // clusters counted more often than referred to
  uint64_t check_errors = 0;  // clusters whose refcount cannot be read
  // Of the corruptions, those that qemu-img 7.2 overlooks.
  uint64_t unseen_by_qemu = 0;
  // Of the corruptions, entries of which it is not known what they should say. No repair changes
  // them, nor frees what they may have named.
  uint64_t bad_entries = 0;
  uint64_t overlaps = 0;  // clusters that are used as two things at once; tables there are kept
  uint64_t corruptions_fixed = 0;
  uint64_t leaks_fixed = 0;
  uint64_t image_end = 0;             // bytes of the file up to the last cluster that counts
  uint64_t total_clusters = 0;        // of the disk
  uint64_t allocated_clusters = 0;    // of those, that lie in the file
  uint64_t compressed_clusters = 0;   // of those, that are compressed
  std::vector<std::string> messages;  // the first 100
};

struct ImageCheckControl {
  ImageRepair repair = ImageRepair::kNone;  // what else than kNone needs a file that can be written
  TaskRunner* runner = nullptr;             // null: the caller's thread
  const std::atomic<bool>* stop = nullptr;  // true: ends soon, with kCancelled
  std::function<void(uint32_t done)> percent = {};  // called often, by any thread, never backwards
  // How much memory the counting of references may take. With less, the tables of a large image are
  // read more often.
  uint64_t count_bytes = 128ull << 20;
};

}  // namespace chainfs
