// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/hidden_overlays.h"

#include <algorithm>

#include "blocklayer/base/timestamp.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/formats/registry/format_registry.h"

namespace chainfs {
namespace {

constexpr size_t kPauseAfter = 64;           // files
constexpr uint64_t kSmallest = 72;           // bytes of a qcow2 header
constexpr int64_t kSettled = 2'000'000'000;  // nanoseconds
constexpr size_t kSlack = 1024;

// Two changes within a tick of the host's clock leave one time of change.
bool IsSettled(const FileStat& stat) {
  return NanosecondsOf(RealTimeNow()) - NanosecondsOf(stat.changed) > kSettled;
}

// Whether the name continues one of `stems` after a dot.
bool ContinuesOneOf(const std::set<std::string>& stems, const std::string& name) {
  for (size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    if (stems.contains(name.substr(0, dot))) return true;
  }
  return false;
}

}  // namespace

HiddenOverlays::Stamp HiddenOverlays::StampOf(const FileStat& stat) {
  return {.id = stat.id,
          .size = stat.size,
          .modified = NanosecondsOf(stat.modified),
          .changed = NanosecondsOf(stat.changed)};
}

// The likely ones first.
Result<std::vector<FileLocation>> HiddenOverlays::List(const Directories& directories, bool all) {
  std::vector<FileLocation> likely;
  std::vector<FileLocation> others;
  for (const std::shared_ptr<Directory>& directory : directories) {
    CHAINFS_ASSIGN(std::vector<DirectoryEntry> entries, directory->List());
    std::ranges::sort(entries, {}, &DirectoryEntry::name);
    std::set<std::string> stems;
    for (const DirectoryEntry& entry : entries) {
      if (FormatOfFileName(entry.name)) stems.insert(StemOf(entry.name));
    }
    for (DirectoryEntry& entry : entries) {
      // What was left of one by a crash keeps nobody from writing.
      if (!entry.is_file || IsPartialName(entry.name)) continue;
      if (!all && FormatOfFileName(entry.name) == ImageFormat::kQcow2) continue;
      std::vector<FileLocation>& locations = ContinuesOneOf(stems, entry.name) ? likely : others;
      const std::string path = JoinPath(directory->path(), entry.name);
      locations.push_back({.directory = directory, .name = std::move(entry.name), .path = path});
    }
  }
  likely.insert(likely.end(), std::make_move_iterator(others.begin()),
                std::make_move_iterator(others.end()));
  return likely;
}

void HiddenOverlays::Inspect(const FileLocation& location, ChainOpener& opener, Pass& pass) {
  const auto known = overlays_.find(location.path);
  // What cannot be looked at for the moment is as it was.
  const auto keep = [&](const Error& error) {
    if (known == overlays_.end() || error.kind == ErrorKind::kNotFound) return;
    pass.overlays.insert_or_assign(location.path, known->second);
  };
  Result<FileStat> stat = location.directory->StatAt(location.name);
  if (!stat) return keep(stat.error());
  if (stat->size < kSmallest || plain_.contains(StampOf(*stat))) {
    pass.plain.insert(StampOf(*stat));
    return;
  }
  Overlay overlay;
  if (known != overlays_.end() && known->second.settled &&
      StampOf(known->second.file.stat) == StampOf(*stat)) {
    overlay = known->second;
  } else {
    ++pass.headers;
    const auto file = location.directory->Open(location.name, OpenMode::kReadOnly);
    if (!file) return keep(file.error());
    stat = (*file)->Stat();
    if (!stat) return keep(stat.error());
    Result<FormatRegistry::Unnamed> header = FormatRegistry::BuiltIn().PeekUnnamed(**file);
    if (!header) return keep(header.error());
    overlay.file = {.location = location,
                    .format = header->format,
                    .stat = *stat,
                    .peek = std::move(header->peek)};
    overlay.settled = IsSettled(*stat);
  }
  if (NamesOf(overlay.file.peek).empty()) {
    if (overlay.settled) pass.plain.insert(StampOf(*stat));
    return;
  }
  const WalkedChain walked = opener.WalkFrom(overlay.file);
  std::vector<FileId> below = walked.Below();
  if (walked.untold) AddMissing(below, overlay.below);
  std::erase(below, overlay.file.stat.id);
  overlay.below = std::move(below);
  overlay.missing = walked.missing;
  pass.overlays.insert_or_assign(location.path, std::move(overlay));
}

bool HiddenOverlays::Scan(const Directories& directories, ChainOpener& opener,
                          const std::function<bool()>& pause) {
  Result<std::vector<FileLocation>> listed = List(directories, false);
  if (!listed) return true;
  std::vector<FileLocation>& locations = *listed;
  const auto begin = std::ranges::find(locations, resume_at_, &FileLocation::path);
  if (begin != locations.end()) std::ranges::rotate(locations, begin);
  resume_at_.clear();

  const auto deadline = std::chrono::steady_clock::now() + kLongest;
  Pass pass;
  for (size_t i = 0; i < locations.size(); ++i) {
    if (i % kPauseAfter == 0 && i > 0) {
      const bool go_on = pause();
      if (!go_on || std::chrono::steady_clock::now() > deadline) {
        resume_at_ = locations[i].path;
        break;
      }
    }
    Inspect(locations[i], opener, pass);
  }
  if (!resume_at_.empty()) {
    // What was not looked at this time is as it was, unless it is gone.
    std::set<std::string_view> there;
    for (const FileLocation& location : locations) there.insert(location.path);
    std::erase_if(overlays_, [&](const auto& item) { return !there.contains(item.first); });
    pass.overlays.merge(overlays_);
    if (plain_.size() <= locations.size() + kSlack) pass.plain.merge(plain_);
  }
  plain_ = std::move(pass.plain);
  overlays_ = std::move(pass.overlays);
  return resume_at_.empty() || pass.headers == 0;
}

Result<std::vector<HiddenOverlays::Overlay>> HiddenOverlays::InspectAll(
    const Directories& directories, ChainOpener& opener, const std::function<bool()>& pause) {
  CHAINFS_ASSIGN(const std::vector<FileLocation> locations, List(directories, true));
  HiddenOverlays fresh;
  Pass pass;
  for (size_t i = 0; i < locations.size(); ++i) {
    if (i % kPauseAfter == 0 && i > 0 && !pause()) {
      return Fail(ErrorKind::kShutdown, "the mount is shutting down");
    }
    fresh.Inspect(locations[i], opener, pass);
  }
  std::vector<Overlay> all;
  for (auto& [path, overlay] : pass.overlays) all.push_back(std::move(overlay));
  return all;
}

}  // namespace chainfs
