// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/dropped_layers.h"

#include <memory>

#include "blocklayer/catalog/dropped_file.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {

Status DroppedLayers::RemoveOne(const ChainRecord::Dropped& dropped, const ChainRecord& record) {
  const Result<DroppedFile> found = FindDropped(roots_, dropped, record.roots);
  // Another file of that name is somebody's image.
  if (!found && found.error().kind == ErrorKind::kNotFound) return {};
  CHAINFS_TRY(found);
  const auto& [location, id] = *found;
  {
    // What the chain was reverted from is built on something.
    CHAINFS_ASSIGN(const std::unique_ptr<File> file,
                   location.directory->Open(location.name, OpenMode::kReadOnly));
    CHAINFS_ASSIGN(const FormatRegistry::Unnamed header,
                   FormatRegistry::BuiltIn().PeekUnnamed(*file));
    if (!header.peek.backing) return {};
  }
  // A chain goes back to nothing that was whole only with this on top of it.
  CHAINFS_TRY(marks_.WholeFrom(dropped.path, record.active));
  CHAINFS_TRY(location.directory->RemoveFile(location.name, id));
  CHAINFS_TRY(location.directory->Sync());
  (void)marks_.Remove(id);
  return {};
}

Status DroppedLayers::MarkOne(size_t source, const ChainRecord::Dropped& file,
                              const ChainRecord& record, MarkKind kind) {
  const Result<DroppedFile> found = FindDropped(roots_, file, record.roots);
  if (!found && found.error().kind == ErrorKind::kNotFound) return {};
  CHAINFS_TRY(found);
  return marks_.AddOne(source,
                       {.path = file.path,
                        .inode = file.file.inode,
                        .into = record.active,
                        .kind = kind,
                        .job = kind == MarkKind::kMerged ? record.merged_by : ""},
                       found->id);
}

Status DroppedLayers::Mark(size_t source, const FileId& active, ChainRecord& record) {
  CHAINFS_TRY(marks_.Remove(active));
  for (const ChainRecord::Dropped& merged : record.merged) {
    CHAINFS_TRY(MarkOne(source, merged, record, MarkKind::kMerged));
  }
  record.merged.clear();
  record.merged_by.clear();
  for (const ChainRecord::Dropped& stale : record.stale) {
    CHAINFS_TRY(MarkOne(source, stale, record, MarkKind::kChanged));
    CHAINFS_TRY(marks_.WholeFrom(stale.path, record.active));
    marks_.MergedFurther(stale.path, record.active);
  }
  record.stale.clear();
  return {};
}

Status DroppedLayers::Remove(RecordDirectory& store, const std::string& file, ChainRecord& record,
                             std::vector<std::string>* removed) {
  while (!record.drops.empty()) {
    const ChainRecord::Dropped dropped = record.drops.front();
    CHAINFS_TRY(RemoveOne(dropped, record));
    if (removed != nullptr) removed->push_back(dropped.path);
    record.drops.erase(record.drops.begin());
    if (record.drops.empty()) break;
    // Another file may soon have its name, and its inode number.
    CHAINFS_TRY(store.Write(file, FormatChainRecord(record, store.source_path())));
  }
  // Without the record the chain would be what the record says now.
  const bool says_nothing = record.active == record.origin && record.next.empty() &&
                            record.stale.empty() && record.merged.empty() &&
                            StemOf(FileNameOf(record.origin)) == record.name;
  return says_nothing ? store.Remove(file)
                      : store.Write(file, FormatChainRecord(record, store.source_path()));
}

}  // namespace chainfs
