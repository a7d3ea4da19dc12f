// SPDX-License-Identifier: Apache-2.0
//
// References: what image headers call their backing files. A name belongs to a place in a chain,
// not to a file: one file may be named differently by two chains (through links), and a file that
// is open may have been renamed, or replaced by another one of its name. So before a name is
// written anywhere durable, it is walked as a later reader would walk it, and must lead to the same
// file; else the command is refused.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "blocklayer/catalog_impl.h"
#include "blocklayer/name_rules.h"

namespace chainfs {
namespace {

// As text, from `directory` to `path`, both absolute and normal: "b.qcow2", "../base/b.qcow2".
std::string RelativePath(const std::string& directory, const std::string& path) {
  return std::filesystem::path(path).lexically_relative(directory).string();
}

// A colon before the first slash would be taken for a protocol's.
std::string WithoutProtocol(std::string name) {
  const size_t colon = name.find(':');
  if (colon != std::string::npos && colon < name.find('/')) return "./" + name;
  return name;
}

// What the overlay's header must say to mean the file that `next` names in the header of the file
// that the overlay calls `name`: exactly the walk of a reader of both.
std::string Compose(std::string_view name, const std::string& next) {
  if (next.starts_with('/')) return next;
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? next
                                         : fmt::format("{}{}", name.substr(0, slash + 1), next);
}

}  // namespace

Status Catalog::Impl::CheckBackingName(const Place& overlay, std::string_view name,
                                       const FileId& id) {
  const Result<FileId> leads = overlay.directory->WhereLeads(std::string(name));
  if (leads && *leads == id) return {};
  if (!leads && leads.error().kind == ErrorKind::kIo) return std::unexpected(leads.error());
  return Fail(ErrorKind::kStale,
              EscapeText(fmt::format("{}: {} does not lead to its backing file (any more): it was "
                                     "renamed or replaced; put it back, or wait until the disk is "
                                     "shown under its new name",
                                     overlay.path, name)));
}

Result<BackingReference> Catalog::Impl::ReferenceToPlace(const Place& overlay, const Place& backing,
                                                         const FileId& id, ImageFormat format) {
  BackingReference reference{.name = {}, .format = std::string(ImageFormatName(format))};
  const std::string directory = DirectoryOf(overlay.path);
  const std::string prefix = directory == "/" ? "/" : directory + "/";
  // Beside or beneath the overlay a relative name lets both move together.
  const bool beneath = backing.path.starts_with(prefix) && DirectoryOf(backing.path) == directory;
  if (beneath) {
    reference.name = WithoutProtocol(backing.path.substr(prefix.size()));
    if (CheckBackingName(overlay, reference.name, id)) return reference;
  }
  reference.name = backing.path;
  CHAINFS_TRY(CheckBackingName(overlay, reference.name, id));
  return reference;
}

Result<BackingReference> Catalog::Impl::ReferenceTo(const Disk& disk, const Layer& overlay,
                                                    const Layer& backing) {
  const MutexLock lock(mu_);
  const auto found = std::ranges::find_if(
      entries_, [&](const auto& item) { return item.second.disk.get() == &disk; });
  if (found == entries_.end()) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk.name()));
  }
  const Candidate& top = found->second.candidate;
  ChainOpener opener(
      roots_, pool_,
      {.assume_backing_format = options_.assume_backing_format, .max_depth = options_.max_depth});
  const WalkedChain chain = opener.Walk(top.place, top.format, top.extra_roots);
  const auto at = [&](const FileId& id) {
    return std::ranges::find_if(chain.files,
                                [&](const LayerFile& file) { return file.stat.id == id; });
  };
  const auto overlay_at = at(overlay.id);
  const auto backing_at = at(backing.id);
  if (overlay_at == chain.files.end() || backing_at == chain.files.end() ||
      overlay_at >= backing_at) {
    if (chain.error) return std::unexpected(*chain.error);
    return Fail(ErrorKind::kStale,
                EscapeText(fmt::format("{}: its headers do not lead from {} to {} any more; a file "
                                       "was renamed or replaced",
                                       disk.name(), overlay.path, backing.path)));
  }
  std::string composed;
  for (auto file = overlay_at; file != backing_at; ++file) {
    composed = Compose(composed, file->peek.backing->name);
  }
  const Place& from = overlay_at->place;
  const bool absolute = composed.starts_with('/');
  const std::string relative =
      WithoutProtocol(RelativePath(DirectoryOf(from.path), backing_at->place.path));
  BackingReference reference{.name = {},
                             .format = std::string(ImageFormatName(backing.image->format()))};
  // The short spelling, unless a symbolic link gives ".." another meaning.
  const bool beside = DirectoryOf(from.path) == DirectoryOf(backing_at->place.path);
  for (const std::string& name : {absolute && !beside ? composed : relative, composed}) {
    reference.name = name;
    if (CheckBackingName(from, name, backing.id)) return reference;
  }
  reference.name = backing_at->place.path;
  CHAINFS_TRY(CheckBackingName(from, reference.name, backing.id));
  return reference;
}

Status Catalog::Impl::CheckNamedByNobody(const Place& place) {
  const Result<FileId> directory = place.directory->Id();
  const auto refuse = [&](std::string_view who) {
    return Fail(ErrorKind::kExists,
                EscapeText(fmt::format("{}: {} names this file, though it is not there; choose "
                                       "another target",
                                       place.path, who)));
  };
  // However the other one spells the directory.
  const auto same = [&](const std::string& path) REQUIRES(mu_) {
    if (path.empty() || FileNameOf(path) != place.name) return false;
    if (path == place.path) return true;
    const Result<Place> other = roots_.Find(path);
    if (!other || !directory) return false;
    const Result<FileId> its_directory = other->directory->Id();
    return its_directory && *its_directory == *directory;
  };
  for (const auto& [path, entry] : entries_) {
    if (same(path) || same(entry.walked.missing)) return refuse(entry.name);
    for (const std::string& kept : entry.candidate.keeps) {
      if (same(kept)) return refuse(entry.name);
    }
    for (const LayerFile& file : entry.walked.files) {
      if (same(file.place.path)) return refuse(entry.name);
    }
    if (entry.disk == nullptr) continue;
    for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) {
      if (same(layer->path)) return refuse(entry.name);
    }
  }
  for (const std::weak_ptr<Disk>& ghost : ghosts_) {
    const DiskPtr disk = ghost.lock();
    if (disk == nullptr) continue;
    for (const LayerPtr& layer : disk->chain()->AllLayers()) {
      if (same(layer->path)) return refuse(fmt::format("the disk {}, still open,", disk->name()));
    }
  }
  CHAINFS_ASSIGN(const std::vector<ChainRecord> records, sources_.ChainRecords());
  for (const ChainRecord& record : records) {
    for (const std::string& path : {record.active, record.origin, record.backing, record.next}) {
      if (same(path)) return refuse(fmt::format("the record of the chain {}", record.name));
    }
  }
  return {};
}

}  // namespace chainfs
