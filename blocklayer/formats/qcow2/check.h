// SPDX-License-Identifier: Apache-2.0
//
// Comparing the refcounts on disk with what the image refers to, as qemu-img check does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"
#include "blocklayer/io/file.h"

namespace chainfs {

// What `qemu-img check` would say, by our own reckoning.
struct Qcow2CheckReport {
  uint64_t corruptions = 0;  // references without enough refcount, overlaps, bad entries, bad flags
  uint64_t leaks = 0;        // clusters counted but not referenced
  std::vector<std::string> messages;  // the first 100
};
Result<Qcow2CheckReport> CheckQcow2(File& file);

}  // namespace chainfs
