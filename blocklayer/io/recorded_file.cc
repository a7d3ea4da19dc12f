// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/recorded_file.h"

#include "blocklayer/base/timestamp.h"

namespace chainfs {

Result<RecordedFile> RecordedFileOf(File& file) {
  CHAINFS_ASSIGN(const FileStat stat, file.Stat());
  return RecordedFile{.inode = stat.id.inode, .born = NanosecondsOf(file.Born())};
}

}  // namespace chainfs
