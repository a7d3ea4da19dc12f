// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/user_files.h"

#include <fmt/format.h>

namespace chainfs {

Result<const CatalogEntry*> UserFiles::EntryOf(const Disk& disk) const {
  const CatalogEntry* const entry = chains_.EntryOf(&disk);
  if (entry != nullptr) return entry;
  return Fail(ErrorKind::kNotFound,
              fmt::format("{}: the disk is gone; it was renamed or removed", disk.name()));
}

Result<FileLocation> UserFiles::ForNew(const DiskPtr& disk, const std::string& name,
                                       bool anywhere) {
  const Turn turn(mu_);
  CHAINFS_ASSIGN(const CatalogEntry* const entry, EntryOf(*disk));
  CHAINFS_ASSIGN(FileLocation location, target_.Named(*entry, name, std::nullopt, anywhere));
  CHAINFS_TRY(target_.CheckUnused(location));
  return location;
}

Result<FileLocation> UserFiles::Find(const DiskPtr& disk, const std::string& name, bool anywhere) {
  const Turn turn(mu_);
  CHAINFS_ASSIGN(const CatalogEntry* const entry, EntryOf(*disk));
  return roots_.FindNew(*entry->disk->chain()->active->directory, name, anywhere);
}

}  // namespace chainfs
