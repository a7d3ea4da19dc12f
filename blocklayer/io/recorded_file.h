// SPDX-License-Identifier: Apache-2.0
//
// RecordedFile: which file is meant, as a record says it that the next daemon reads. An inode
// number alone is not enough: once the file is removed, the next one may get it, at once on some
// file systems.
#pragma once

#include <cstdint>

#include "blocklayer/io/file.h"

namespace chainfs {

struct RecordedFile {
  uint64_t inode = 0;
  int64_t born = 0;  // when it was made, in nanoseconds since 1970; 0: nobody has said
  bool operator==(const RecordedFile&) const = default;

  // Whether the file that is there is the one, as far as both are known.
  bool Means(const RecordedFile& there) const {
    const bool born_apart = born != 0 && there.born != 0 && born != there.born;
    return inode == there.inode && !born_apart;
  }
};

// What a record would say of it.
Result<RecordedFile> RecordedFileOf(File& file);
// The same where it is known already which file it is.
RecordedFile RecordedFileOf(const FileId& id, File& file);

}  // namespace chainfs
