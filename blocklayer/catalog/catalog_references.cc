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

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// As text, from `directory` to `path`, both absolute and normal: "b.qcow2", "../base/b.qcow2".
std::string RelativePath(const std::string& directory, const std::string& path) {
  return std::filesystem::path(path).lexically_relative(directory).string();
}

// As text: without "x/.." and "./". So it needs no directory that it only leaves again.
std::string WithoutDetours(const std::string& name) {
  return std::filesystem::path(name).lexically_normal().string();
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

Catalog::Impl::Entry* Catalog::Impl::EntryOf(const Disk* disk) {
  for (auto& [path, entry] : entries_) {
    if (disk != nullptr && entry.disk.get() == disk) return &entry;
  }
  return nullptr;
}

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

Result<BackingReference> Catalog::Impl::ChooseName(const Place& overlay,
                                                   const std::vector<std::string>& names,
                                                   const Place& backing, const FileId& id,
                                                   ImageFormat format) {
  BackingReference reference{.name = {}, .format = std::string(ImageFormatName(format))};
  const bool beside = DirectoryOf(overlay.path) == DirectoryOf(backing.path);
  if (beside) {
    reference.name = WithoutProtocol(backing.name);
    if (CheckBackingName(overlay, reference.name, id)) return reference;
  }
  for (const std::string& name : names) {
    reference.name = name;
    // Made from what headers say, it may lead onto a mount that makes whoever looks wait.
    const Result<FileId> leads = roots_.Follow(*overlay.directory, name);
    if (leads && *leads == id && CheckBackingName(overlay, name, id)) return reference;
  }
  reference.name = backing.path;
  CHAINFS_TRY(CheckBackingName(overlay, reference.name, id));
  return reference;
}

Result<BackingReference> Catalog::Impl::ReferenceToPlace(const Place& overlay, const Place& backing,
                                                         const FileId& id, ImageFormat format) {
  std::vector<std::string> names;
  // What one root holds may be moved as a whole.
  if (roots_.ContainsTogether(overlay.path, backing.path)) {
    names.push_back(WithoutProtocol(RelativePath(DirectoryOf(overlay.path), backing.path)));
  }
  return ChooseName(overlay, names, backing, id, format);
}

Result<BackingReference> Catalog::Impl::ReferenceTo(const Disk& disk, const Layer& overlay,
                                                    const Layer& backing) {
  const MutexLock lock(mu_);
  const Entry* const entry = EntryOf(&disk);
  if (entry == nullptr) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk.name()));
  }
  const Candidate& top = entry->candidate;
  ChainOpener opener = NewOpener();
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
  // The short spelling first, unless a symbolic link gives ".." another meaning.
  return ChooseName(overlay_at->place, {WithoutProtocol(WithoutDetours(composed)), composed},
                    backing_at->place, backing.id, backing.image->format());
}

Status Catalog::Impl::CheckNamedByNobody(const Place& place,
                                         const std::vector<ChainRecord>& records) {
  const Result<FileId> directory = place.directory->Id();
  const auto refuse = [&](std::string_view who) {
    return Fail(ErrorKind::kExists,
                EscapeText(fmt::format("{}: {} names this file, though it is not there; choose "
                                       "another target",
                                       place.path, who)));
  };
  // However the other one spells the directory.
  const auto same = [&](const std::string& path) {
    if (path.empty() || FileNameOf(path) != place.name) return false;
    if (path == place.path) return true;
    const Result<FileId> its_directory = place.directory->WhereLeads(DirectoryOf(path));
    return directory && its_directory && *its_directory == *directory;
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
  for (const auto& [path, overlay] : hidden_.overlays()) {
    if (same(overlay.missing)) return refuse(FileNameOf(path));
  }
  for (const std::weak_ptr<Disk>& ghost : ghosts_) {
    const DiskPtr disk = ghost.lock();
    if (disk == nullptr) continue;
    for (const LayerPtr& layer : disk->chain()->AllLayers()) {
      if (same(layer->path)) return refuse(fmt::format("the disk {}, still open,", disk->name()));
    }
  }
  for (const ChainRecord& record : records) {
    for (const std::string& path : {record.active, record.origin, record.backing, record.next}) {
      if (same(path)) return refuse(fmt::format("the record of the chain {}", record.name));
    }
    // What is to be removed has its inode number, too, which the next file of that name may get.
    for (const ChainRecord::Dropped& dropped : record.drops) {
      if (same(dropped.path)) return refuse(fmt::format("the record of the chain {}", record.name));
    }
  }
  return {};
}

}  // namespace chainfs
