// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_needs.h"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "blocklayer/base/percent_text.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// The text of a job's record names the path as a whole value: between quotes and percent-escaped,
// or in a line of its own where only '%' and line ends are escaped (older daemons').
bool NamesAsValue(std::string_view text, const std::string& path) {
  std::string value = "=";
  for (const char c : path) {
    if (c == '%' || c == '\n' || c == '\r') {
      value += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      value += c;
    }
  }
  return text.find(value + "\n") != std::string_view::npos ||
         text.find('"' + PercentEscape(path) + '"') != std::string_view::npos;
}

// An internal snapshot does not mind that its own file is written.
std::vector<FileId> ChainOf(const Disk& disk) {
  std::vector<FileId> chain;
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    if (layer->snapshot_of == nullptr) chain.push_back(layer->id);
  }
  return chain;
}

bool Contains(const std::vector<FileId>& chain, const FileId& id) {
  return std::ranges::find(chain, id) != chain.end();
}

// Whether a chain needs the file.
bool Needs(const std::vector<FileId>& chain, const FileId& id, const LayerNeeds::Sight& sight) {
  return Contains(chain, id) && (!sight.skipped || !Contains(chain, *sight.skipped));
}

}  // namespace

std::string LayerNeeds::Because(const FileId& id, const std::string& path, const Sight& sight) {
  if (std::string why = BecauseOfChains(id, path, sight); !why.empty()) return why;
  if (std::string why = BecauseOfHidden(id, sight); !why.empty()) return why;
  return BecauseOfRecords(id, path, sight);
}

std::string LayerNeeds::BecauseOfEntry(const CatalogEntry& entry, const FileId& id,
                                       const std::string& path, const Sight& sight) {
  std::vector<FileId> chain;
  if (entry.disk != nullptr) chain = ChainOf(*entry.disk);
  for (const FileId& below : entry.walked.Below()) chain.push_back(below);
  chain.insert(chain.end(), entry.also_below.begin(), entry.also_below.end());
  if (entry.disk == nullptr) {
    chain.insert(chain.end(), entry.kept_below.begin(), entry.kept_below.end());
  }
  const std::vector<std::string>& kept = entry.candidate.keeps;
  const bool needs = Needs(chain, id, sight) ||
                     (entry.disk == nullptr && std::ranges::find(kept, path) != kept.end());
  if (!needs) return {};
  std::string why = fmt::format("{} is built on it", entry.name);
  const LeftOutMarks::Mark* const mark = marks_.Of(entry);
  if (mark == nullptr || mark->contents.kind != MarkKind::kMerged || mark->lost) return why;
  return why + fmt::format(
                   " (merged into {} and left out, see chainctl layers: delete {} if it is "
                   "not wanted; delete=yes with a stream does so)",
                   FileNameOf(mark->contents.into), mark->contents.path);
}

std::string LayerNeeds::BecauseOfGhost(const Disk& ghost, const FileId& id, const Sight& sight) {
  if (sight.gone.contains(ghost.chain()->active->id)) return {};
  if (!Needs(ChainOf(ghost), id, sight)) return {};
  if (ghost.chain()->active->snapshot_of != nullptr) {
    return fmt::format("the internal snapshot {} is built on it", ghost.name());
  }
  return fmt::format("{}, which is still open, is built on it", ghost.name());
}

std::string LayerNeeds::BecauseOfChains(const FileId& id, const std::string& path,
                                        const Sight& sight) {
  for (const auto& [top, entry] : chains_.entries()) {
    if (sight.gone.contains(entry.id())) continue;
    std::string why =
        entry.id() == id ? BecauseOfItself(entry) : BecauseOfEntry(entry, id, path, sight);
    if (!why.empty()) return why;
  }
  for (const DiskPtr& ghost : chains_.Ghosts()) {
    if (std::string why = BecauseOfGhost(*ghost, id, sight); !why.empty()) return why;
  }
  return {};
}

std::vector<std::string> LayerNeeds::UsersOf(const Layer& layer, const Sight& sight) {
  std::vector<std::string> users;
  const auto add = [&](std::string why) {
    if (!why.empty()) users.push_back(std::move(why));
  };
  for (const auto& [top, entry] : chains_.entries()) {
    if (sight.gone.contains(entry.id())) continue;
    if (entry.id() != layer.id) {
      add(BecauseOfEntry(entry, layer.id, layer.path, sight));
      continue;
    }
    if (!entry.candidate.record.empty()) add("it is the active layer of " + entry.name);
    if (entry.disk != nullptr && entry.disk->access().writers() > 0) add("it is open for writing");
  }
  for (const DiskPtr& ghost : chains_.Ghosts()) add(BecauseOfGhost(*ghost, layer.id, sight));
  // Those in view were asked.
  HiddenUsers::Around unseen;
  for (const HiddenOverlays::Overlay& overlay : *sight.around) {
    const auto shown = chains_.entries().find(overlay.file.location.path);
    if (shown == chains_.entries().end()) unseen.push_back(overlay);
  }
  Sight rest = sight;
  rest.around = &unseen;
  add(BecauseOfHidden(layer.id, rest));
  add(BecauseOfRecords(layer.id, layer.path, sight));
  if (layer.image->file().LockedByOthers()) add("another process uses it");
  return users;
}

std::string LayerNeeds::BecauseOfHidden(const FileId& id, const Sight& sight) {
  for (const auto& [name, overlay] : hidden_.overlays()) {
    if (!hidden_.users().contains(id)) break;
    if (sight.gone.contains(overlay.file.stat.id) || !Needs(overlay.below, id, sight)) continue;
    return fmt::format("{}, which is not shown, is built on it", FileNameOf(name));
  }
  if (sight.around == nullptr) return {};
  for (const HiddenOverlays::Overlay& overlay : *sight.around) {
    const FileId& top = overlay.file.stat.id;
    if (chains_.condemned().contains(top)) continue;
    if (top == sight.skipped || sight.gone.contains(top) || !Needs(overlay.below, id, sight)) {
      continue;
    }
    return fmt::format("{}, which is not shown, is built on it", overlay.file.location.path);
  }
  return {};
}

std::string LayerNeeds::BecauseOfRecords(const FileId& id, const std::string& path,
                                         const Sight& sight) {
  const Result<std::vector<ChainRecord>> records = sources_.ChainRecords();
  if (!records) return "the records cannot be read";
  const auto is_it = [&](const std::string& named, const ChainRecord& record) {
    if (named.empty()) return false;
    if (named == path) return true;
    const Result<FileLocation> location = roots_.Find(named, record.roots);
    if (!location) return false;
    const Result<FileId> leads = location->directory->WhereLeads(location->name);
    return leads && *leads == id;
  };
  for (const ChainRecord& record : *records) {
    const Result<FileLocation> active = roots_.Find(record.active, record.roots);
    const std::string listed = active ? active->path : record.active;
    if (listed == sight.own_record) continue;
    // While the chain is shown, what it began at and what it froze last are history.
    const auto shown = chains_.entries().find(listed);
    const bool history = shown != chains_.entries().end() && shown->second.disk != nullptr;
    const bool named =
        is_it(record.active, record) || is_it(record.next, record) ||
        (!history && (is_it(record.origin, record) || is_it(record.backing, record)));
    if (named) return fmt::format("the record of the chain {} names it", record.name);
  }
  const Result<std::vector<RecordStore::Record>> jobs = records_.ReadAll(kJobRecordPrefix);
  if (!jobs) return "the records cannot be read";
  for (const RecordStore::Record& job : *jobs) {
    if (!sight.own_job.empty() && job.name == "job-" + sight.own_job) continue;
    if (NamesAsValue(job.contents, path)) return fmt::format("the record {} names it", job.name);
  }
  return {};
}

std::string LayerNeeds::BecauseOfItself(const CatalogEntry& entry) {
  if (entry.candidate.named_by_user) return "it is named as a source";
  if (!entry.candidate.record.empty()) return "active layer of " + entry.name;
  if (entry.disk == nullptr) return {};
  if (entry.disk->access().writers() > 0) return "it is open for writing";
  if (entry.disk->access().readers() > 0) return "its disk is open";
  const bool locked = entry.disk->chain()->active->image->file().LockedByOthers();
  return locked ? "another process uses it" : "";
}

Layers LayerNeeds::UnneededOf(const Layer& top, const Layers& left_out,
                              const HiddenUsers::Around& around) {
  Sight sight{.gone = {}, .skipped = top.id, .own_record = {}, .around = &around};
  Layers unneeded;
  for (const LayerPtr& layer : left_out) {
    sight.gone.insert(layer->id);
    // Its own entry counts, those of the layers above it do not any more.
    Sight own = sight;
    own.gone.erase(layer->id);
    // Whoever needs it needs all that is below it.
    if (layer->image->file().LockedByOthers()) break;
    if (!Because(layer->id, layer->path, own).empty()) break;
    unneeded.push_back(layer);
  }
  return unneeded;
}

}  // namespace chainfs
