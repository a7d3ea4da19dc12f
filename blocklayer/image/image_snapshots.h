// SPDX-License-Identifier: Apache-2.0
//
// Snapshots within one image file: frozen states of the disk that the file keeps beside it, over
// the same backing file. chainfs shows them, keeps them, and makes and deletes none.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace chainfs {

struct ImageSnapshot {
  // As stored: any bytes. Empty where they are too long for anybody (more than 255 bytes).
  std::string id;
  std::string name;
  uint64_t made = 0;  // seconds since 1970
  uint64_t size = 0;  // bytes of the disk then
};

struct ImageSnapshots {
  uint64_t count = 0;
  std::vector<ImageSnapshot> kept;   // of these, the first 1024
  bool all_state_their_size = true;  // false: some have that of the image, whatever it becomes

  bool empty() const { return count == 0; }
  // For a sentence, the names escaped: `its internal snapshot "a"`, or `its 7 internal snapshots
  // ("a", "b", "c", ...)`.
  std::string Describe() const;
};

}  // namespace chainfs
