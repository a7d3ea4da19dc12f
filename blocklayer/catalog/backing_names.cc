// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/backing_names.h"

#include <fmt/format.h>
#include <algorithm>
#include <filesystem>

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

Status BackingNames::Check(const FileLocation& overlay, std::string_view name, const FileId& id) {
  const Result<FileId> leads = overlay.directory->WhereLeads(std::string(name));
  if (leads && *leads == id) return {};
  if (!leads && leads.error().kind == ErrorKind::kIo) return std::unexpected(leads.error());
  return Fail(ErrorKind::kStale,
              EscapeText(fmt::format("{}: {} does not lead to its backing file (any more): it was "
                                     "renamed or replaced; put it back, or wait until the disk is "
                                     "shown under its new name",
                                     overlay.path, name)));
}

Result<BackingReference> BackingNames::Choose(const FileLocation& overlay,
                                              const std::vector<std::string>& names,
                                              const FileLocation& backing, const FileId& id,
                                              ImageFormat format) {
  BackingReference reference{.name = {}, .format = std::string(format.name())};
  const bool beside = DirectoryOf(overlay.path) == DirectoryOf(backing.path);
  if (beside) {
    reference.name = WithoutProtocol(backing.name);
    if (Check(overlay, reference.name, id)) return reference;
  }
  for (const std::string& name : names) {
    reference.name = name;
    // Made from what headers say, it may lead onto a mount that makes whoever looks wait.
    const Result<FileId> leads = roots_.Follow(*overlay.directory, name);
    if (leads && *leads == id && Check(overlay, name, id)) return reference;
  }
  reference.name = backing.path;
  CHAINFS_TRY(Check(overlay, reference.name, id));
  return reference;
}

Result<BackingReference> BackingNames::For(const FileLocation& overlay, const FileLocation& backing,
                                           const FileId& id, ImageFormat format) {
  std::vector<std::string> names;
  // What one root holds may be moved as a whole.
  if (roots_.ContainsTogether(overlay.path, backing.path)) {
    names.push_back(WithoutProtocol(RelativePath(DirectoryOf(overlay.path), backing.path)));
  }
  return Choose(overlay, names, backing, id, format);
}

Result<BackingReference> BackingNames::Between(const CatalogEntry& entry, const Layer& overlay,
                                               const Layer& backing) {
  const Candidate& top = entry.candidate;
  ChainOpener opener = openers_.New();
  const WalkedChain chain = opener.Walk(top.location, top.format, top.extra_roots);
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
                                       entry.disk->name(), overlay.path, backing.path)));
  }
  std::string composed;
  for (auto file = overlay_at; file != backing_at; ++file) {
    composed = Compose(composed, file->peek.backing->name);
  }
  // The short spelling first, unless a symbolic link gives ".." another meaning.
  return Choose(overlay_at->location, {WithoutProtocol(WithoutDetours(composed)), composed},
                backing_at->location, backing.id, backing.image->format());
}

}  // namespace chainfs
