// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/left_out_marks.h"

#include <fmt/format.h>
#include <set>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

std::string LeftOutMarks::Mark::Reason() const {
  if (lost) {
    return fmt::format(
        "read-only: a stream has merged it into {}, which is gone; to have it as a disk of its "
        "own, run: chainctl thaw",
        contents.into);
  }
  return fmt::format(
      "read-only: a stream has merged it into {}; delete it, or, to have it as a disk of its own, "
      "run: chainctl thaw",
      contents.into);
}

void LeftOutMarks::Load() {
  std::map<FileId, Mark> marks;
  std::set<const RecordDirectory*> done;
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (done.insert(&sources_.records(i)).second) LoadFrom(i, marks);
  }
  marks_ = std::move(marks);
}

void LeftOutMarks::LoadFrom(size_t source, std::map<FileId, Mark>& marks) {
  RecordDirectory& store = sources_.records(source);
  const Result<std::vector<RecordDirectory::Found>> all = store.ReadAll(kLeftOutPrefix);
  // Where the whole store is not trusted, no image of the source is shown; and what cannot be read
  // just now is still so.
  if (!all) {
    for (const auto& [id, mark] : marks_) {
      if (&sources_.records(mark.source) == &store) marks.insert_or_assign(id, mark);
    }
    return;
  }
  for (const RecordDirectory::Found& found : *all) {
    const Result<LeftOut> mark = found.contents ? ParseLeftOut(*found.contents, store.source_path())
                                                : std::unexpected(found.contents.error());
    const bool covered = mark && store.Covers(mark->path);
    // What is not trusted does not count.
    if (!mark || (!covered && !store.CheckTrustedWithPaths())) continue;
    const Result<FileLocation> location = roots_.Find(mark->path);
    if (!location) continue;
    const Result<FileId> id = location->directory->WhereLeads(location->name);
    if (id && id->inode == mark->inode) {
      marks.insert_or_assign(*id, Mark{.source = source,
                                       .record = found.name,
                                       .contents = *mark,
                                       .lost = IsGone(mark->into)});
      continue;
    }
    // The next file of that name is somebody's new image.
    const bool gone = id || id.error().kind == ErrorKind::kNotFound;
    if (gone && covered && !read_only_) (void)store.Remove(found.name);
  }
}

bool LeftOutMarks::IsGone(const std::string& path) {
  const Result<FileLocation> location = roots_.Find(path);
  if (!location) return location.error().kind == ErrorKind::kNotFound;
  const Result<FileStat> stat = location->directory->StatAt(location->name);
  return !stat && stat.error().kind == ErrorKind::kNotFound;
}

const LeftOutMarks::Mark* LeftOutMarks::Of(const CatalogEntry& entry) const {
  // The user's own words, and those of a snapshot, go before a stream's.
  if (entry.candidate.named_by_user || !entry.candidate.record.empty()) return nullptr;
  const auto found = marks_.find(entry.id());
  return found == marks_.end() ? nullptr : &found->second;
}

Status LeftOutMarks::Add(size_t source, const Layer& top, const Layers& layers) {
  RecordDirectory& store = sources_.records(source);
  for (const LayerPtr& layer : layers) {
    Mark mark{.source = source,
              .record = {},
              .contents = {.path = layer->path, .inode = layer->id.inode, .into = top.path},
              .lost = false};
    mark.record = LeftOutName(mark.contents);
    const Status written =
        store.Write(mark.record, FormatLeftOut(mark.contents, store.source_path()));
    marks_.insert_or_assign(layer->id, std::move(mark));
    if (written) continue;
    // They stay where they are.
    for (const LayerPtr& marked : layers) (void)Remove(marked->id);
    return written;
  }
  return {};
}

Status LeftOutMarks::Remove(const FileId& id) {
  const auto found = marks_.find(id);
  if (found == marks_.end()) return {};
  CHAINFS_TRY(sources_.records(found->second.source).Remove(found->second.record));
  marks_.erase(found);
  return {};
}

void LeftOutMarks::MergedFurther(const std::string& from, const std::string& into) {
  for (auto& [id, mark] : marks_) {
    if (mark.contents.into != from) continue;
    mark.contents.into = into;
    RecordDirectory& store = sources_.records(mark.source);
    // If it fails, the mark names a file that is gone, and the layer counts as needed.
    (void)store.Write(mark.record, FormatLeftOut(mark.contents, store.source_path()));
  }
}

}  // namespace chainfs
