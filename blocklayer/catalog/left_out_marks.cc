// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/left_out_marks.h"

#include <fmt/format.h>
#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "blocklayer/base/backoff.h"
#include "blocklayer/catalog/dropped_file.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {
namespace {

bool SameInstant(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// Null: there is nothing to refuse.
Status RefuseMixture(const LeftOutMarks::Mark* mark, std::string_view subject,
                     std::string_view otherwise) {
  if (mark == nullptr) return {};
  const LeftOut& contents = mark->contents;
  if (!mark->unread.empty()) {
    return Fail(ErrorKind::kIo,
                EscapeText(fmt::format("{}: whether a job changes {} is unknown: {}", subject,
                                       contents.path, mark->unread)));
  }
  return Fail(
      ErrorKind::kBusy,
      EscapeText(fmt::format("{}: {} writes to {}, or has not finished doing so, and only "
                             "{} and what is built on it are whole; finish that commit, {}",
                             subject, contents.job, contents.path, contents.into, otherwise)));
}

}  // namespace

std::string LeftOutMarks::Mark::Reason() const {
  if (!unread.empty()) {
    return fmt::format("read-only: whether a job has left it out or changes it is unknown: {}",
                       unread);
  }
  switch (contents.kind) {
    case MarkKind::kMerged:
      if (contents.job.empty()) break;
      return fmt::format(
          "read-only: {} has copied it into {}, which its disk goes on with; delete it, or, to "
          "have it as a disk of its own, run: chainctl thaw",
          contents.job, contents.into);
    case MarkKind::kChanging:
      return fmt::format(
          "read-only: {} writes to what it shows, or has not finished doing so; only {} and what "
          "is built on it show it whole",
          contents.job, contents.into);
    case MarkKind::kChanged:
      return fmt::format(
          "read-only: it was merged into {}, and what it is built on has changed since; delete it",
          contents.into);
    case MarkKind::kTarget:
      return fmt::format("read-only: {} fills it, and has not finished", contents.job);
  }
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

Status LeftOutMarks::Load() {
  Marks marks;
  std::set<const RecordDirectory*> done;
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (done.insert(&sources_.records(i)).second) CHAINFS_TRY(LoadFrom(i, marks));
  }
  marks_ = std::move(marks.of_file);
  unseen_ = std::move(marks.unseen);
  return {};
}

void LeftOutMarks::LoadUnread(size_t source, const std::string& record, const Error& error,
                              Marks& marks) {
  const RecordDirectory* const store = &sources_.records(source);
  for (const auto& [id, mark] : marks_) {
    if (&sources_.records(mark.source) != store || mark.record != record) continue;
    marks.of_file.insert_or_assign(id, mark);
    return;
  }
  const std::optional<FileInName> named = FileOfLeftOutName(record);
  if (!named) return;
  Mark mark{.source = source, .record = record, .contents = {}};
  mark.contents.path = fmt::format("{}/{}", store->source_path(), named->name);
  mark.contents.inode = named->inode;
  mark.contents.kind = MarkKind::kChanging;
  mark.unread = error.message;
  const Result<FileId> id = At(mark.contents.path);
  if (id && id->inode == named->inode) {
    marks.of_file.insert_or_assign(*id, std::move(mark));
  } else {
    marks.unseen.insert_or_assign(named->inode, std::move(mark));
  }
}

std::optional<std::string> LeftOutMarks::BuiltOnNow(const LeftOut& mark) {
  const Result<FileLocation> location = roots_.Find(mark.path);
  if (!location) return std::nullopt;
  const auto file = location->directory->Open(location->name, OpenMode::kReadOnly);
  if (!file) return std::nullopt;
  const Result<FileStat> stat = (*file)->Stat();
  const Result<FormatRegistry::Unnamed> header = FormatRegistry::BuiltIn().PeekUnnamed(**file);
  if (!stat || stat->id.inode != mark.inode || !header) return std::nullopt;
  const std::optional<BackingReference>& backing = header->peek.backing;
  return backing ? backing->name : "";
}

bool LeftOutMarks::IsAnother(Mark& mark, const FileId& id) {
  if (!mark.contents.built_on) return false;
  const Result<FileLocation> location = roots_.Find(mark.contents.path);
  const Result<FileStat> stat =
      location ? location->directory->StatAt(location->name) : std::unexpected(location.error());
  if (!stat || stat->id != id) return false;
  const Mark* const known = Find(id);
  mark.seen = *stat;
  const bool unchanged = known != nullptr && known->seen.size == stat->size &&
                         SameInstant(known->seen.modified, stat->modified) &&
                         SameInstant(known->seen.changed, stat->changed);
  if (unchanged) return false;
  const std::optional<std::string> now = BuiltOnNow(mark.contents);
  if (!now) return false;
  // Not its size: a crash may have taken what had grown last.
  return *now != *mark.contents.built_on;
}

Status LeftOutMarks::LoadFrom(size_t source, Marks& marks) {
  RecordDirectory& store = sources_.records(source);
  const Result<std::vector<RecordDirectory::Found>> all = store.ReadAll(kLeftOutPrefix);
  if (!all && !RecordDirectory::IsDistrusted(all.error())) {
    return std::unexpected(WithContext(
        all.error(), "which layers jobs have left out, or change, cannot be told just now"));
  }
  // Where the whole store is not trusted, no image of the source is shown.
  if (!all) {
    for (const auto& [id, mark] : marks_) {
      if (&sources_.records(mark.source) == &store) marks.of_file.insert_or_assign(id, mark);
    }
    return {};
  }
  for (const RecordDirectory::Found& found : *all) {
    const Result<LeftOut> mark = found.contents ? ParseLeftOut(*found.contents, store.source_path())
                                                : std::unexpected(found.contents.error());
    const bool covered = mark && store.Covers(mark->path);
    Status trusted = mark ? Status() : std::unexpected(mark.error());
    if (mark && !covered) trusted = store.CheckTrustedWithPaths();
    if (!trusted) {
      // What is not trusted does not count.
      if (RecordDirectory::IsDistrusted(trusted.error())) continue;
      LoadUnread(source, found.name, trusted.error(), marks);
      continue;
    }
    const Result<FileId> id = At(mark->path);
    const bool same = id && id->inode == mark->inode;
    if (same || (!id && IsPassing(id.error()))) {
      const Result<FileId> into = At(mark->into);
      Mark read{.source = source,
                .record = found.name,
                .contents = *mark,
                .lost = mark->kind == MarkKind::kMerged && !into &&
                        into.error().kind == ErrorKind::kNotFound,
                .into = into ? std::optional(*into) : std::nullopt};
      if (same && IsAnother(read, *id)) {
        if (covered && !read_only_) (void)store.Remove(found.name);
      } else if (same) {
        marks.of_file.insert_or_assign(*id, std::move(read));
      } else {
        marks.unseen.insert_or_assign(mark->inode, std::move(read));
      }
      continue;
    }
    // The next file of that name is somebody's new image.
    const bool gone = id || id.error().kind == ErrorKind::kNotFound;
    if (gone && covered && !read_only_) (void)store.Remove(found.name);
  }
  return {};
}

void LeftOutMarks::AddMerged(const std::vector<InterruptedChange>& interrupted) {
  for (const InterruptedChange& change : interrupted) {
    const ChainRecord& chain = change.contents;
    for (const ChainRecord::Dropped& merged : chain.merged) {
      const Result<DroppedFile> found = FindDropped(roots_, merged, chain.roots);
      if (!found) continue;
      Mark mark{.source = change.source, .record = {}, .contents = {}};
      mark.contents.path = merged.path;
      mark.contents.inode = merged.file.inode;
      mark.contents.into = chain.active;
      mark.contents.job = chain.merged_by;
      mark.record = LeftOutName(mark.contents);
      marks_.try_emplace(found->id, std::move(mark));
    }
  }
}

Result<FileId> LeftOutMarks::At(const std::string& path) {
  CHAINFS_ASSIGN(const FileLocation location, roots_.Find(path));
  return location.directory->WhereLeads(location.name);
}

const LeftOutMarks::Mark* LeftOutMarks::Of(const CatalogEntry& entry) const {
  // The words of a snapshot go before a job's.
  if (!entry.candidate.record.empty()) return nullptr;
  const Mark* const mark = Find(entry.id());
  // So do the user's own, but nothing makes a whole of a mixture.
  const bool merged = mark != nullptr && mark->contents.kind == MarkKind::kMerged;
  return merged && entry.candidate.named_by_user ? nullptr : mark;
}

const LeftOutMarks::Mark* LeftOutMarks::ShutOut(const CatalogEntry& entry) const {
  if (!entry.candidate.record.empty()) return nullptr;
  const Mark* const mark = Find(entry.id());
  if (mark == nullptr) return nullptr;
  const MarkKind kind = mark->contents.kind;
  return kind == MarkKind::kChanged || kind == MarkKind::kTarget ? mark : nullptr;
}

const LeftOutMarks::Mark* LeftOutMarks::Changing(const CatalogEntry& entry) const {
  if (!entry.candidate.record.empty()) return nullptr;
  const Mark* const mark = Find(entry.id());
  return mark != nullptr && mark->contents.kind == MarkKind::kChanging ? mark : nullptr;
}

const LeftOutMarks::Mark* LeftOutMarks::FirstUncovered(const std::vector<Place>& chain) const {
  for (auto place = chain.begin(); place != chain.end(); ++place) {
    const Mark* const mark = Find(place->id);
    if (mark == nullptr || mark->contents.kind != MarkKind::kChanging) continue;
    const auto covers = [&](const Place& above) {
      return mark->into ? above.id == *mark->into : above.path == mark->contents.into;
    };
    if (std::none_of(chain.begin(), place, covers)) return mark;
  }
  return nullptr;
}

const LeftOutMarks::Mark* LeftOutMarks::Uncovered(const std::vector<LayerFile>& chain) const {
  // Its own disk says so itself.
  const Mark* const own = chain.empty() ? nullptr : Find(chain.front().stat.id);
  if (own != nullptr && own->contents.kind == MarkKind::kChanging) return nullptr;
  std::vector<Place> places;
  places.reserve(chain.size());
  for (const LayerFile& file : chain) places.push_back({file.stat.id, file.location.path});
  return FirstUncovered(places);
}

Status LeftOutMarks::CheckWhole(const Layers& chain, std::string_view subject,
                                std::string_view otherwise) const {
  std::vector<Place> places;
  places.reserve(chain.size());
  for (const LayerPtr& layer : chain) places.push_back({layer->id, layer->path});
  return RefuseMixture(FirstUncovered(places), subject, otherwise);
}

Status LeftOutMarks::CheckWhole(std::span<const LayerFile> chain, std::string_view subject,
                                std::string_view otherwise) const {
  std::vector<Place> places;
  places.reserve(chain.size());
  for (const LayerFile& file : chain) places.push_back({file.stat.id, file.location.path});
  return RefuseMixture(FirstUncovered(places), subject, otherwise);
}

const LeftOutMarks::Mark* LeftOutMarks::Find(const FileId& id) const {
  const auto found = marks_.find(id);
  if (found != marks_.end()) return &found->second;
  const auto unseen = unseen_.find(id.inode);
  return unseen == unseen_.end() ? nullptr : &unseen->second;
}

std::set<FileId> LeftOutMarks::Changed() const {
  std::set<FileId> changed;
  for (const auto& [id, mark] : marks_) {
    if (mark.contents.kind == MarkKind::kChanged) changed.insert(id);
  }
  return changed;
}

Status LeftOutMarks::Write(size_t source, LeftOut contents, const FileId& id, Before& before) {
  RecordDirectory& store = sources_.records(source);
  // What would not count at the next scan keeps nobody from anything.
  const bool must_count = contents.kind != MarkKind::kMerged && roots_.Contains(contents.path);
  if (must_count && !store.Covers(contents.path)) CHAINFS_TRY(store.CheckTrustedWithPaths());
  const bool at_rest = contents.kind == MarkKind::kMerged || contents.kind == MarkKind::kChanged;
  contents.built_on = at_rest ? BuiltOnNow(contents) : std::nullopt;
  const Mark* const known = Find(id);
  if (known != nullptr && !known->unread.empty()) return Fail(ErrorKind::kIo, known->unread);
  before.try_emplace(id, known == nullptr ? std::nullopt : std::optional(*known));
  const Result<FileId> into = At(contents.into);
  Mark mark{.source = source,
            .record = {},
            .contents = std::move(contents),
            .lost = false,
            .into = into ? std::optional(*into) : std::nullopt};
  mark.record = LeftOutName(mark.contents);
  Status written = store.Write(mark.record, FormatLeftOut(mark.contents, store.source_path()));
  // It may be there, even if that failed.
  marks_.insert_or_assign(id, std::move(mark));
  return written;
}

Status LeftOutMarks::PutBack(const Before& before) {
  Status all;
  for (const auto& [id, mark] : before) {
    Status one;
    if (mark) {
      RecordDirectory& store = sources_.records(mark->source);
      one = store.Write(mark->record, FormatLeftOut(mark->contents, store.source_path()));
      marks_.insert_or_assign(id, *mark);
    } else {
      one = Remove(id);
    }
    if (all) all = std::move(one);
  }
  return all;
}

Status LeftOutMarks::AddOne(size_t source, LeftOut contents, const FileId& id) {
  Before before;
  Status written = Write(source, std::move(contents), id, before);
  if (!written) (void)PutBack(before);
  return written;
}

Result<LeftOutMarks::Before> LeftOutMarks::AddLike(size_t source, const LeftOut& like,
                                                   const Layers& layers) {
  Before before;
  for (const LayerPtr& layer : layers) {
    LeftOut contents = like;
    contents.path = layer->path;
    contents.inode = layer->id.inode;
    Status written = Write(source, std::move(contents), layer->id, before);
    if (written) continue;
    // They stay where they are.
    (void)PutBack(before);
    return std::unexpected(std::move(written).error());
  }
  return before;
}

Status LeftOutMarks::Add(size_t source, const Layer& top, const Layers& layers) {
  Before before;
  for (const LayerPtr& layer : layers) {
    const Mark* const known = Find(layer->id);
    const bool changed = known != nullptr && (known->contents.kind == MarkKind::kChanging ||
                                              known->contents.kind == MarkKind::kChanged);
    Status written = Write(source,
                           {.path = layer->path,
                            .inode = layer->id.inode,
                            .into = top.path,
                            .kind = changed ? MarkKind::kChanged : MarkKind::kMerged},
                           layer->id, before);
    if (written) continue;
    (void)PutBack(before);
    return written;
  }
  std::vector<std::string> paths;
  for (const LayerPtr& layer : layers) paths.push_back(layer->path);
  Status followed = FollowWhole(paths, top.path, before);
  if (!followed) (void)PutBack(before);
  return followed;
}

Status LeftOutMarks::FollowWhole(const std::vector<std::string>& from, const std::string& into,
                                 Before& before) {
  std::vector<std::pair<FileId, Mark>> following;
  for (const auto& [id, mark] : marks_) {
    if (mark.contents.kind != MarkKind::kChanging || mark.contents.path == into) continue;
    if (std::ranges::find(from, mark.contents.into) == from.end()) continue;
    following.emplace_back(id, mark);
  }
  for (auto& [id, mark] : following) {
    mark.contents.into = into;
    CHAINFS_TRY(Write(mark.source, mark.contents, id, before));
  }
  return {};
}

Status LeftOutMarks::WholeFrom(const std::string& from, const std::string& into) {
  Before before;
  Status followed = FollowWhole({from}, into, before);
  if (!followed) (void)PutBack(before);
  return followed;
}

Status LeftOutMarks::Remove(const FileId& id) {
  const Mark* const mark = Find(id);
  if (mark == nullptr) return {};
  CHAINFS_TRY(sources_.records(mark->source).Remove(mark->record));
  if (marks_.erase(id) == 0) unseen_.erase(id.inode);
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
