// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/hidden_users.h"

#include <fmt/format.h>
#include <algorithm>
#include <set>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// "; give it the name vm1.snap1.qcow2 (or name it as a SOURCE) to show it as a disk"
std::string AdviceFor(const std::string& file_name) {
  if (FormatOfFileName(file_name)) {
    return "; name it as a SOURCE with format=qcow2 to show it as a disk (or with format=raw, if "
           "it is a raw image)";
  }
  std::string shown =
      file_name.substr(std::min(file_name.find_first_not_of('.'), file_name.size()));
  if (FormatOfFileName(shown) != ImageFormat::kQcow2) shown += ".qcow2";
  return fmt::format("; give it the name {} (or name it as a SOURCE) to show it as a disk", shown);
}

}  // namespace

bool HiddenUsers::Scan() {
  ChainOpener opener = openers_.New();
  const auto pause = [this] { return pauses_.PauseAndGoOn(); };
  return overlays_.Scan(sources_.WholeDirectories(), opener, pause);
}

Result<HiddenUsers::Around> HiddenUsers::FindAround(const Layers& layers) {
  ChainOpener opener = openers_.New();
  const auto pause = [this] { return pauses_.PauseAndGoOn(); };
  HiddenOverlays::Directories directories = sources_.WholeDirectories();
  std::set<FileId> known;
  for (const std::shared_ptr<Directory>& directory : directories) {
    CHAINFS_ASSIGN(const FileId id, directory->Id());
    known.insert(id);
  }
  for (const LayerPtr& layer : layers) {
    CHAINFS_ASSIGN(const FileId id, layer->directory->Id());
    if (known.insert(id).second) directories.push_back(layer->directory);
  }
  return HiddenOverlays::InspectAll(directories, opener, pause);
}

void HiddenUsers::Update() {
  users_.clear();
  notes_.clear();
  if (overlays().empty()) return;
  std::set<FileId> shown;      // whatever they are called
  std::set<FileId> in_chains;  // those above them are named already
  for (const auto& [path, entry] : chains_.entries()) {
    // What the user says of a file is so; but a name may be wrong about it.
    const Candidate& candidate = entry.candidate;
    if (candidate.format != ImageFormat::kRaw || candidate.named_by_user) shown.insert(entry.id());
    for (const FileId& id : entry.walked.Below()) in_chains.insert(id);
    if (entry.disk == nullptr) continue;
    for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) in_chains.insert(layer->id);
    if (candidate.format == ImageFormat::kRaw) in_chains.erase(entry.id());
  }
  std::map<FileId, std::vector<std::string>> direct;
  for (const auto& [path, overlay] : overlays()) {
    const FileId& id = overlay.file.stat.id;
    if (overlay.below.empty() || shown.contains(id) || chains_.condemned().contains(id)) continue;
    const std::string name = FileNameOf(path);
    if (!in_chains.contains(id)) direct[overlay.below.front()].push_back(name);
    for (const FileId& below : overlay.below) {
      users_.try_emplace(below, LayerUser{.name = name, .advice = AdviceFor(name)});
    }
  }
  // The nearest one is the better answer to who is built on it.
  for (const auto& [id, names] : direct) {
    users_[id] = LayerUser{.name = names.front(), .advice = AdviceFor(names.front())};
    const std::string others =
        names.size() == 1 ? "" : fmt::format(" (and {} more such)", names.size() - 1);
    notes_[id] = fmt::format("{}{}, which is not shown, is built on it{}", names.front(), others,
                             AdviceFor(names.front()));
  }
}

}  // namespace chainfs
