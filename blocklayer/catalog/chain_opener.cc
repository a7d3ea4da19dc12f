// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_opener.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "blocklayer/base/backoff.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

Result<ImageFormat> FormatOfBacking(const FormatRegistry& formats, const LayerFile& overlay,
                                    const BackingReference& backing,
                                    std::optional<ImageFormat> assumed) {
  if (!backing.format) {
    if (assumed) return *assumed;
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format(
                    "{}: does not say the format of its backing file; name it with: qemu-img "
                    "rebase -u -F FORMAT -b {} {} (or mount with -o assume_backing_format=FORMAT)",
                    overlay.location.path, backing.name, overlay.location.path)));
  }
  const FormatRow* const row = formats.FindByName(*backing.format);
  if (row != nullptr) return row->format;
  return Fail(ErrorKind::kUnsupported,
              EscapeText(fmt::format("{}: its backing file has the format \"{}\"; chainfs knows {}",
                                     overlay.location.path, *backing.format, formats.Names())));
}

}  // namespace

ChainOpener::Inspected& ChainOpener::Inspect(const FileLocation& location, FormatRow::Peek peek) {
  const auto [position, is_new] =
      inspected_.try_emplace(location.path, Inspected{.stat = FileStat{}, .peek = {}});
  Inspected& seen = position->second;
  if (!is_new && (!seen.stat || peek == nullptr || seen.peek)) return seen;
  // Read-only: whoever watches the directory is not told of a change that is none.
  const auto file = location.directory->Open(location.name, OpenMode::kReadOnly);
  seen.stat = file ? (*file)->Stat() : std::unexpected(file.error());
  if (seen.stat && peek != nullptr) seen.peek = peek(**file);
  return seen;
}

FormatRow::Peek ChainOpener::PeekOf(ImageFormat format) const {
  const FormatRow* const row = pool_.formats().Find(format);
  return row != nullptr ? row->peek : nullptr;
}

Result<FileStat> ChainOpener::StatOf(const FileLocation& location,
                                     std::optional<ImageFormat> format) {
  return Inspect(location, format ? PeekOf(*format) : nullptr).stat;
}

Result<LayerFile> ChainOpener::LayerFileAt(const FileLocation& location, ImageFormat format) {
  const FormatRow::Peek peek = PeekOf(format);
  const Inspected& seen = Inspect(location, peek);
  if (!seen.stat) return std::unexpected(seen.stat.error());
  LayerFile file{.location = location, .format = format, .stat = *seen.stat, .peek = {}};
  if (peek == nullptr) return file;
  if (!*seen.peek) return std::unexpected(seen.peek->error());
  file.peek = **seen.peek;
  return file;
}

Result<std::optional<LayerFile>> ChainOpener::Below(const LayerFile& overlay,
                                                    std::span<const std::string> extra,
                                                    std::string& missing) {
  if (!overlay.peek.backing) return std::nullopt;
  const BackingReference& backing = *overlay.peek.backing;
  CHAINFS_ASSIGN(const FileLocation location,
                 roots_.Resolve(overlay.location, backing.name, extra));
  CHAINFS_ASSIGN(const ImageFormat format,
                 FormatOfBacking(pool_.formats(), overlay, backing, rules_.assume_backing_format));
  Result<LayerFile> file = LayerFileAt(location, format);
  if (!file && file.error().kind == ErrorKind::kNotFound) missing = location.path;
  CHAINFS_TRY(file);
  return *std::move(file);
}

std::vector<FileId> WalkedChain::Below() const {
  std::vector<FileId> ids;
  for (size_t i = 1; i < files.size(); ++i) ids.push_back(files[i].stat.id);
  ids.insert(ids.end(), leads_to.begin(), leads_to.end());
  return ids;
}

void AddMissing(std::vector<FileId>& ids, const std::vector<FileId>& more) {
  for (const FileId& id : more) {
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
}

void ChainOpener::AddNamed(const LayerFile& file, WalkedChain& chain) {
  for (const std::string& name : NamesOf(file.peek)) {
    const Result<FileId> id = roots_.Follow(*file.location.directory, name);
    if (id) chain.leads_to.push_back(*id);
    if (!id && IsOutOfFiles(id.error())) chain.untold = true;
  }
}

void ChainOpener::AddDataFile(const LayerFile& file, WalkedChain& chain) {
  if (!rules_.data_files || file.peek.data_file.empty()) return;
  const Result<FileId> id = roots_.Follow(*file.location.directory, file.peek.data_file);
  if (id) chain.data_files.push_back(*id);
}

std::vector<FileId> ChainOpener::Replaced(const Layers& layers, std::span<const std::string> extra,
                                          bool& untold) {
  std::vector<FileId> ids;
  for (size_t i = 0; i + 1 < layers.size(); ++i) {
    const Layer& layer = *layers[i];
    LayerFile overlay{
        .location = {.directory = layer.directory, .name = layer.name, .path = layer.path},
        .format = ImageFormat::kQcow2,
        .stat = {.id = layer.id},
        .peek = {.backing = layer.image->backing(), .dirty = false}};
    if (!overlay.peek.backing) continue;
    const Result<FileLocation> location =
        roots_.Resolve(overlay.location, overlay.peek.backing->name, extra);
    if (location) {
      const Result<FileStat> stat = StatOf(*location, std::nullopt);
      if (stat && stat->id == layers[i + 1]->id) continue;
    }
    const WalkedChain walked = WalkFrom(std::move(overlay), extra);
    const std::vector<FileId> now = walked.Below();
    ids.insert(ids.end(), now.begin(), now.end());
    untold = untold || walked.untold;
  }
  return ids;
}

WalkedChain ChainOpener::Walk(const FileLocation& top, ImageFormat format,
                              std::span<const std::string> extra) {
  Result<LayerFile> first = LayerFileAt(top, format);
  if (first) return WalkFrom(*std::move(first), extra);
  const bool untold = first.error().kind != ErrorKind::kNotFound;
  return WalkedChain{.files = {},
                     .error = std::move(first).error(),
                     .missing = {},
                     .leads_to = {},
                     .data_files = {},
                     .untold = untold};
}

WalkedChain ChainOpener::WalkFrom(LayerFile top_file, std::span<const std::string> extra) {
  const FileLocation top = top_file.location;
  WalkedChain chain;
  std::set<FileId> ids;
  std::optional<LayerFile> next = std::move(top_file);
  while (next) {
    if (!ids.insert(next->stat.id).second) {
      chain.error = Error{.kind = ErrorKind::kLoop,
                          .message = EscapeText(fmt::format(
                              "{}: the chain contains itself: {} leads back to {}", top.path,
                              chain.files.back().location.path, next->location.path))};
      break;
    }
    if (chain.files.size() >= rules_.max_depth) {
      chain.error =
          Error{.kind = ErrorKind::kLoop,
                .message = EscapeText(fmt::format("{}: the chain is deeper than {} layers; mount "
                                                  "with a larger -o max_depth=",
                                                  top.path, rules_.max_depth))};
      chain.leads_to.push_back(next->stat.id);
      break;
    }
    chain.files.push_back(*std::move(next));
    Result<std::optional<LayerFile>> below = Below(chain.files.back(), extra, chain.missing);
    if (!below) {
      const std::string& overlay = chain.files.back().location.path;
      Error error = std::move(below).error();
      // The message begins with the file that fails; say also who needs it.
      if (!error.message.starts_with(EscapeText(overlay))) {
        error = WithContext(std::move(error), fmt::format("{}: backing file", EscapeText(overlay)));
      }
      chain.untold = IsPassing(error);
      chain.error = std::move(error);
      AddNamed(chain.files.back(), chain);
      break;
    }
    if (!chain.files.back().peek.data_file.empty()) AddNamed(chain.files.back(), chain);
    AddDataFile(chain.files.back(), chain);
    next = *std::move(below);
  }
  return chain;
}

Result<Layers> ChainOpener::Open(const WalkedChain& chain,
                                 const std::function<LayerRole(const FileId&)>& role_of) {
  if (chain.error) return std::unexpected(*chain.error);
  // Before any of its layers is opened.
  for (const LayerFile& file : chain.files) {
    const auto known_bad = unusable_.find(file.stat.id);
    if (known_bad != unusable_.end()) return std::unexpected(known_bad->second);
  }
  Layers layers;
  for (const LayerFile& file : chain.files) {
    Result<LayerPtr> layer = pool_.Get(file, role_of(file.stat.id));
    if (!layer) {
      if (layer.error().kind != ErrorKind::kInvalidArgument) {
        unusable_.emplace(file.stat.id, layer.error());
      }
      return std::unexpected(std::move(layer).error());
    }
    layers.push_back(*std::move(layer));
  }
  return layers;
}

Result<Layers> ChainOpener::OpenIfUnlocked(const WalkedChain& chain,
                                           const std::function<LayerRole(const FileId&)>& role_of) {
  for (const LayerFile& file : chain.files) {
    if (pool_.Find(file.stat.id) != nullptr) continue;
    CHAINFS_ASSIGN(const std::unique_ptr<File> probe,
                   file.location.directory->Open(file.location.name, OpenMode::kReadOnly));
    const bool active = role_of(file.stat.id) == LayerRole::kActive;
    CHAINFS_TRY(probe->SetImageLocks(active ? kActiveLayerLocks : kBackingLayerLocks));
  }
  return Open(chain, role_of);
}

Result<Layers> ChainOpener::OpenGently(const WalkedChain& chain,
                                       const std::function<LayerRole(const FileId&)>& role_of) {
  const auto is_dirty = [](const LayerFile& file) { return file.peek.dirty; };
  // A dirty one is read only where it is not repaired.
  if (std::ranges::any_of(chain.files, is_dirty)) return Open(chain, role_of);
  Result<Layers> read = Open(chain, [](const FileId&) { return LayerRole::kBacking; });
  if (!read) return read;
  return Open(chain, role_of);
}

}  // namespace chainfs
