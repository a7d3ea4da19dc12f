// SPDX-License-Identifier: Apache-2.0
//
// Images that lie: qcow2 headers and tables put together word by word, for tests of what a reader
// makes of them. Everything is written sparsely, so that a giant costs what it really says.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/random.h"

namespace chainfs {

// What a header says. The defaults are a sound, empty image of 1 GiB, with its L1 table in the
// third cluster; the refcount table, in the second one, is empty.
struct HostileHeader {
  uint32_t cluster_bits = 16;
  uint64_t size = 1ull << 30;
  uint32_t l1_entries = 2;
  uint64_t l1_offset = 0;  // 0: the third cluster
  uint64_t incompatible = 0;
  uint32_t snapshots = 0;
  uint32_t refcount_order = 4;
  std::string backing = {};  // of format qcow2
};

// Writes the header, and makes the file `bytes` long (0: up to the end of the L1 table).
void WriteHostileImage(const std::string& path, const HostileHeader& header, uint64_t bytes = 0);
// `count` big-endian words that begin with `first` and grow by `step`.
void WriteWords(const std::string& path, uint64_t offset, uint64_t first, uint64_t step,
                uint64_t count);

// One image of a few MiB at most of real data, of a kind and with values that `random` chooses:
// forms that were found to hurt, giants, loops, dirty bits, and honest images with words
// overwritten. `directory` holds an honest "base.qcow2" that overlays may name. Returns the kind,
// for messages.
std::string WriteAnyHostileImage(const std::string& directory, const std::string& name,
                                 Random& random);

}  // namespace chainfs
