// SPDX-License-Identifier: Apache-2.0
//
// What streams have left out: layers that no chain needs for what it shows any more. They stay
// read-only until somebody deletes them, says that they may be written (AllowWriting), or names
// them as a source.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

void Catalog::Impl::LoadMarks() {
  std::map<FileId, Mark> marks;
  std::set<const RecordDirectory*> done;
  for (size_t i = 0; i < sources_.size(); ++i) {
    RecordDirectory& store = sources_.records(i);
    if (!done.insert(&store).second) continue;
    const Result<std::vector<RecordDirectory::Found>> all = store.ReadAll(kLeftOutPrefix);
    // Where the whole store is not trusted, no image of the source is shown; and what cannot be
    // read just now is still so.
    if (!all) {
      for (const auto& [id, mark] : marks_) {
        if (&sources_.records(mark.source) == &store) marks.insert_or_assign(id, mark);
      }
      continue;
    }
    for (const RecordDirectory::Found& found : *all) {
      const Result<LeftOut> mark = found.contents
                                       ? ParseLeftOut(*found.contents, store.source_path())
                                       : std::unexpected(found.contents.error());
      const bool covered = mark && store.Covers(mark->path);
      // What is not trusted does not count.
      if (!mark || (!covered && !store.CheckTrustedWithPaths())) continue;
      const Result<Place> place = roots_.Find(mark->path);
      if (!place) continue;
      const Result<FileId> id = place->directory->WhereLeads(place->name);
      if (id && id->inode == mark->inode) {
        marks.insert_or_assign(
            *id,
            Mark{.source = i, .record = found.name, .contents = *mark, .lost = IsGone(mark->into)});
        continue;
      }
      // The next file of that name is somebody's new image.
      const bool gone = id || id.error().kind == ErrorKind::kNotFound;
      if (gone && covered && !options_.read_only) (void)store.Remove(found.name);
    }
  }
  marks_ = std::move(marks);
}

bool Catalog::Impl::IsGone(const std::string& path) {
  const Result<Place> place = roots_.Find(path);
  if (!place) return place.error().kind == ErrorKind::kNotFound;
  const Result<FileStat> stat = place->directory->Look(place->name);
  return !stat && stat.error().kind == ErrorKind::kNotFound;
}

const Catalog::Impl::Mark* Catalog::Impl::MarkOf(const Entry& entry) const {
  // The user's own words, and those of a snapshot, go before a stream's.
  if (entry.candidate.named_by_user || !entry.candidate.record.empty()) return nullptr;
  const auto found = marks_.find(entry.id());
  return found == marks_.end() ? nullptr : &found->second;
}

std::string Catalog::Impl::MergedText(const Mark& mark) {
  if (mark.lost) {
    return fmt::format(
        "read-only: a stream has merged it into {}, which is gone; to have it as a disk of its "
        "own, run: chainctl thaw",
        mark.contents.into);
  }
  return fmt::format(
      "read-only: a stream has merged it into {}; delete it, or, to have it as a disk of its own, "
      "run: chainctl thaw",
      mark.contents.into);
}

Status Catalog::Impl::RemoveMark(const FileId& id) {
  const auto found = marks_.find(id);
  if (found == marks_.end()) return {};
  CHAINFS_TRY(sources_.records(found->second.source).Remove(found->second.record));
  marks_.erase(found);
  return {};
}

void Catalog::Impl::MergedFurther(const std::string& from, const std::string& into) {
  for (auto& [id, mark] : marks_) {
    if (mark.contents.into != from) continue;
    mark.contents.into = into;
    RecordDirectory& store = sources_.records(mark.source);
    // If it fails, the mark names a file that is gone, and the layer counts as needed.
    (void)store.Write(mark.record, FormatLeftOut(mark.contents, store.source_path()));
  }
}

Status Catalog::Impl::MarkLeftOut(const Disk& disk, const Layer& top, const Layers& layers) {
  CHAINFS_ASSIGN(const size_t source, records_.WritableSourceOf(disk));
  RecordDirectory& store = sources_.records(source);
  const Turn turn(mu_);
  // Then nothing that lasts has their contents.
  const Result<FileStat> stat = top.image->file().Stat();
  if (condemned_.contains(top.id) || (stat && stat->links == 0)) {
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: was removed while it was being filled, so what it is "
                                       "built on stays",
                                       top.path)));
  }
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
    for (const LayerPtr& marked : layers) (void)RemoveMark(marked->id);
    return written;
  }
  return {};
}

Status Catalog::Impl::AllowWriting(const DiskPtr& disk) {
  Status allowed = [&]() -> Status {
    const Turn turn(mu_);
    if (options_.read_only) return Fail(ErrorKind::kReadOnly, "the mount is read-only");
    const auto found =
        std::ranges::find_if(entries_, [&](const auto& item) { return item.second.disk == disk; });
    if (found == entries_.end() || MarkOf(found->second) == nullptr) {
      return Fail(
          ErrorKind::kInvalidArgument,
          fmt::format("{}: no stream has left it out, so there is nothing to thaw", disk->name()));
    }
    CHAINFS_TRY(RemoveMark(found->second.id()));
    UpdateRoles(BackedLayers());
    PublishLists();
    return {};
  }();
  DeliverEvents();
  return allowed;
}

}  // namespace chainfs
