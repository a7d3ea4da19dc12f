// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/raw/create.h"

#include <utility>

namespace chainfs::raw {

Result<std::unique_ptr<File>> CreateRaw(Directory& directory, const std::string& name,
                                        uint64_t size, mode_t permissions) {
  CHAINFS_ASSIGN(std::unique_ptr<File> file, directory.Create(name, permissions));
  Status made = file->Truncate(size);
  if (made) made = file->DataSync();
  if (made) made = directory.Sync();
  if (made) return file;
  // The first error is the one to tell.
  const Result<FileStat> stat = file->Stat();
  if (stat) (void)directory.RemoveFile(name, stat->id);
  return std::unexpected(std::move(made).error());
}

}  // namespace chainfs::raw
