// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/dropped_file.h"

#include <memory>
#include <utility>

namespace chainfs {
namespace {

std::unexpected<Error> AnotherHasItsName(const std::string& path) {
  return Fail(ErrorKind::kNotFound, path + ": another file has its name");
}

}  // namespace

Result<DroppedFile> FindDropped(Roots& roots, const ChainRecord::Dropped& dropped,
                                std::span<const std::string> extra) {
  CHAINFS_ASSIGN(FileLocation location, roots.Find(dropped.path, extra));
  CHAINFS_ASSIGN(const FileId id, location.directory->WhereLeads(location.name));
  if (id.inode != dropped.file.inode) return AnotherHasItsName(dropped.path);
  if (dropped.file.born != 0) {
    const auto file = location.directory->Open(location.name, OpenMode::kReadOnly);
    const Result<RecordedFile> there =
        file ? RecordedFileOf(**file) : Result<RecordedFile>(std::unexpected(file.error()));
    // One that cannot be looked at counts as the one that is meant.
    if (there && !dropped.file.Means(*there)) return AnotherHasItsName(dropped.path);
  }
  return DroppedFile{.location = std::move(location), .id = id};
}

ChainRecord::Dropped DroppedOf(const Layer& layer) {
  return {.path = layer.path, .file = RecordedFileOf(layer.id, layer.image->file())};
}

}  // namespace chainfs
