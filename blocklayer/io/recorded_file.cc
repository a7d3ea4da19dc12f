// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/recorded_file.h"

#include "blocklayer/base/timestamp.h"

namespace chainfs {

Result<RecordedFile> RecordedFileOf(File& file) {
  CHAINFS_ASSIGN(const FileStat stat, file.Stat());
  return RecordedFileOf(stat.id, file);
}

RecordedFile RecordedFileOf(const FileId& id, File& file) {
  return {.inode = id.inode, .born = NanosecondsOf(file.Born())};
}

}  // namespace chainfs
