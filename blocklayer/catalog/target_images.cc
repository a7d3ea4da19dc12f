// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/target_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Result<FileId> TargetImages::Make(const CatalogEntry& entry, const FileLocation& location,
                                  const TargetRequest& request) {
  const FormatRow* const format = pool_.formats().Find(request.format);
  if (format == nullptr || format->create == nullptr) {
    return Fail(ErrorKind::kUnsupported,
                fmt::format("this chainfs makes no {} images", request.format.name()));
  }
  CHAINFS_TRY(target_.CheckUnused(location));
  const TargetRequest::Create& create = *request.create;
  ImageCreateOptions options;
  options.virtual_size = create.virtual_size;
  options.cluster_bits = create.cluster_bits;
  options.lazy_refcounts = create.lazy_refcounts;
  options.compression = create.compression;
  options.subclusters =
      GetsSubclusters(create.subclusters, create.backing ? create.backing->image.get() : nullptr,
                      create.cluster_bits);
  // Whoever may read the disk's images may read this; nobody else.
  CHAINFS_ASSIGN(const FileStat owner, entry.disk->chain()->active->image->file().StatAccess());
  options.permissions = owner.permissions & 0600;
  if (create.backing != nullptr) {
    const Layer& backing = *create.backing;
    const FileLocation there{
        .directory = backing.directory, .name = backing.name, .path = backing.path};
    CHAINFS_ASSIGN(options.backing,
                   names_.For(location, there, backing.id, backing.image->format()));
  }
  // Under a hidden name of the job's own, so that a crash leaves nothing of the name that is asked
  // for, or all of it.
  CHAINFS_ASSIGN(const std::string partial, PartialNameOf(location.path, request.job));
  Status removed = location.directory->Remove(partial);
  if (!removed && removed.error().kind != ErrorKind::kNotFound) {
    return std::unexpected(std::move(removed).error());
  }
  CHAINFS_ASSIGN(const std::unique_ptr<File> file,
                 format->create(*location.directory, partial, options));
  const Result<FileStat> made = file->Stat();
  if (!made) {
    (void)location.directory->Remove(partial);
    return std::unexpected(made.error());
  }
  // Or the next daemon would take it for an overlay that somebody has made.
  Status named = Mark(entry, location, made->id, request.job);
  if (named) named = location.directory->RenameNew(partial, location.name);
  const bool has_name = named.has_value();
  if (named) named = location.directory->Sync();
  if (named) return made->id;
  removed = location.directory->RemoveFile(has_name ? location.name : partial, made->id);
  // While the file is there, so is the mark.
  if (removed) (void)marks_.Remove(made->id);
  return std::unexpected(std::move(named).error());
}

// A file outside all sources is not shown anyway.
Status TargetImages::Mark(const CatalogEntry& entry, const FileLocation& location, const FileId& id,
                          const std::string& job) {
  if (!roots_.Contains(location.path)) return {};
  return marks_.AddOne(entry.candidate.source,
                       {.path = location.path,
                        .inode = id.inode,
                        .into = entry.candidate.path,
                        .kind = MarkKind::kTarget,
                        .job = job},
                       id);
}

Status TargetImages::CheckFree(const CatalogEntry& entry, const LayerFile& file,
                               const std::string& job) {
  const std::string& path = file.location.path;
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: cannot be a target: {}", path, why)));
  };
  if (file.stat.id == entry.id()) {
    return refuse(fmt::format("it is the active layer of {} itself", entry.name));
  }
  const LayerNeeds::Sight sight{
      .gone = {}, .skipped = std::nullopt, .own_record = {}, .own_job = job, .around = nullptr};
  const std::string why = needs_.Because(file.stat.id, path, sight);
  return why.empty() ? Status() : refuse(why);
}

Result<Layers> TargetImages::OpenMarked(const CatalogEntry& entry, const WalkedChain& walked,
                                        ChainOpener& opener, const std::string& job) {
  const LayerFile& file = walked.files.front();
  CHAINFS_TRY(Mark(entry, file.location, file.stat.id, job));
  for (auto& [path, other] : chains_.entries()) {
    if (other.id() == file.stat.id) chains_.Retire(other);
  }
  // What it is built on keeps its role: the disk's own active layer may be among it.
  const auto role_of = [&](const FileId& id) {
    if (id == file.stat.id) return LayerRole::kActive;
    const LayerPtr open = pool_.Find(id);
    return open == nullptr ? LayerRole::kBacking : pool_.RoleOf(open);
  };
  Result<Layers> layers = opener.Open(walked, role_of);
  if (layers && !layers->front()->image->writable()) {
    layers = Fail(ErrorKind::kReadOnly,
                  EscapeText(fmt::format("{}: cannot be written: {}", file.location.path,
                                         layers->front()->ReadOnlyReason())));
  }
  if (!layers) (void)marks_.Remove(file.stat.id);
  scanner_.ShowChanges();
  return layers;
}

Result<Layers> TargetImages::Open(const DiskPtr& disk, const TargetRequest& request) {
  if (read_only_) return Fail(ErrorKind::kReadOnly, std::string(kMountReadOnly));
  CHAINFS_TRY(scanner_.Scan(Scanner::Kind::kQuick));
  const CatalogEntry* const entry = chains_.EntryOf(disk.get());
  if (entry == nullptr) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk->name()));
  }
  CHAINFS_ASSIGN(const FileLocation location,
                 target_.Named(*entry, request.path, request.format, request.anywhere));
  std::optional<FileId> made;
  if (request.create) {
    CHAINFS_ASSIGN(made, Make(*entry, location, request));
  }
  ChainOpener opener = openers_.New();
  const WalkedChain walked = opener.Walk(location, request.format, entry->candidate.extra_roots);
  Result<Layers> layers = [&]() -> Result<Layers> {
    if (walked.error) return std::unexpected(*walked.error);
    CHAINFS_TRY(CheckFree(*entry, walked.files.front(), request.job));
    CHAINFS_TRY(marks_.CheckWhole(std::span(walked.files).subspan(1),
                                  fmt::format("{}: cannot be a target", location.path),
                                  "or choose another target"));
    return OpenMarked(*entry, walked, opener, request.job);
  }();
  if (layers || !made) return layers;
  if (location.directory->RemoveFile(location.name, *made)) (void)marks_.Remove(*made);
  return layers;
}

Status TargetImages::GiveBack(const LayerPtr& image, TargetImage::End end) {
  const bool shown = std::ranges::any_of(chains_.entries(), [&](const auto& item) {
    return item.second.disk != nullptr && item.second.id() == image->id;
  });
  if (shown && end != TargetImage::End::kRemoved) return {};
  if (shown) {
    return Fail(ErrorKind::kBusy,
                EscapeText(fmt::format("{}: a disk stands on it by now", image->path)));
  }
  if (end == TargetImage::End::kRemoved) {
    CHAINFS_TRY(image->directory->RemoveFile(image->name, image->id));
    CHAINFS_TRY(image->directory->Sync());
  }
  if (end != TargetImage::End::kLeft) CHAINFS_TRY(marks_.Remove(image->id));
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(image, LayerRole::kBacking);
  if (end != TargetImage::End::kLeft) scanner_.ShowChanges();
  return {};
}

}  // namespace chainfs
