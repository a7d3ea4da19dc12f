// SPDX-License-Identifier: Apache-2.0
//
// Layers: which image files anybody needs, and the removal of those that nobody does.
//
// A file is needed while a chain in view, usable or not, or a disk that somebody still has open,
// contains it below its top; while a record names it; while another process has it locked; and as a
// disk of its own, unless a stream has left it out. Files are told apart by device and inode, never
// by name. Whoever removes looks at the sources again first.
//
// Crash ordering of a removal: the header that leaves the layers out is durable long before. They
// go from the top down, so that whatever is there can be opened at any moment; a crash in between
// leaves files that LayersReport calls unneeded.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// The text of a job's record names the path as a whole value ('%' and line ends are escaped there).
bool NamesAsValue(std::string_view text, const std::string& path) {
  std::string value = "=";
  for (const char c : path) {
    if (c == '%' || c == '\n' || c == '\r') {
      value += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    } else {
      value += c;
    }
  }
  return text.find(value + "\n") != std::string_view::npos;
}

}  // namespace

std::string Catalog::Impl::NeededByRecord(const FileId& id, const std::string& path,
                                          const Sight& sight) {
  const Result<std::vector<ChainRecord>> records = sources_.ChainRecords();
  if (!records) return "the records cannot be read";
  const auto is_it = [&](const std::string& named, const ChainRecord& record) REQUIRES(mu_) {
    if (named.empty()) return false;
    if (named == path) return true;
    const Result<Place> place = roots_.Find(named, record.roots);
    if (!place) return false;
    const Result<FileId> leads = place->directory->WhereLeads(place->name);
    return leads && *leads == id;
  };
  for (const ChainRecord& record : *records) {
    const Result<Place> active = roots_.Find(record.active, record.roots);
    const std::string listed = active ? active->path : record.active;
    if (listed == sight.own_record) continue;
    // While the chain is shown, what it began at and what it froze last are history.
    const auto shown = entries_.find(listed);
    const bool history = shown != entries_.end() && shown->second.disk != nullptr;
    const bool named =
        is_it(record.active, record) || is_it(record.next, record) ||
        (!history && (is_it(record.origin, record) || is_it(record.backing, record)));
    if (named) return fmt::format("the record of the chain {} names it", record.name);
  }
  const Result<std::vector<Record>> jobs = records_.ReadAll("job-");
  if (!jobs) return "the records cannot be read";
  for (const Record& job : *jobs) {
    if (NamesAsValue(job.contents, path)) return fmt::format("the record {} names it", job.name);
  }
  return {};
}

std::string Catalog::Impl::NeededByItself(const Entry& entry) {
  if (entry.candidate.named_by_user) return "it is named as a source";
  if (!entry.candidate.record.empty()) return "active layer of " + entry.name;
  if (entry.disk == nullptr) return {};
  if (entry.disk->access().writers() > 0) return "it is open for writing";
  if (entry.disk->access().readers() > 0) return "its disk is open";
  const bool locked = entry.disk->chain()->active->image->file().LockedByOthers();
  return locked ? "another process uses it" : "";
}

std::string Catalog::Impl::NeededBecause(const FileId& id, const std::string& path,
                                         const Sight& sight) {
  const auto needs = [&](const std::vector<FileId>& chain) {
    if (std::ranges::find(chain, id) == chain.end()) return false;
    return !sight.skipped || std::ranges::find(chain, *sight.skipped) == chain.end();
  };
  const auto chain_of = [](const Disk& disk) {
    std::vector<FileId> chain;
    for (const LayerPtr& layer : disk.chain()->AllLayers()) chain.push_back(layer->id);
    return chain;
  };
  for (const auto& [top, entry] : entries_) {
    if (sight.gone.contains(entry.id())) continue;
    if (entry.id() == id) {
      std::string why = NeededByItself(entry);
      if (!why.empty()) return why;
      continue;
    }
    std::vector<FileId> chain;
    if (entry.disk != nullptr) chain = chain_of(*entry.disk);
    for (const FileId& below : entry.walked.Below()) chain.push_back(below);
    chain.insert(chain.end(), entry.also_below.begin(), entry.also_below.end());
    if (needs(chain)) return fmt::format("{} is built on it", entry.name);
    const std::vector<std::string>& kept = entry.candidate.keeps;
    if (entry.disk == nullptr && std::ranges::find(kept, path) != kept.end()) {
      return fmt::format("{} is built on it", entry.name);
    }
  }
  for (const std::weak_ptr<Disk>& ghost : ghosts_) {
    const DiskPtr disk = ghost.lock();
    if (disk == nullptr || sight.gone.contains(disk->chain()->active->id)) continue;
    if (needs(chain_of(*disk))) {
      return fmt::format("{}, which is still open, is built on it", disk->name());
    }
  }
  for (const auto& [name, overlay] : hidden_.overlays()) {
    if (!hidden_users_.contains(id)) break;
    if (sight.gone.contains(overlay.file.stat.id) || !needs(overlay.below)) continue;
    return fmt::format("{}, which is not shown, is built on it", FileNameOf(name));
  }
  if (sight.around != nullptr) {
    for (const HiddenOverlays::Overlay& overlay : *sight.around) {
      const FileId& top = overlay.file.stat.id;
      if (top == sight.skipped || sight.gone.contains(top) || !needs(overlay.below)) continue;
      return fmt::format("{}, which is not shown, is built on it", overlay.file.place.path);
    }
  }
  return NeededByRecord(id, path, sight);
}

Layers Catalog::Impl::UnneededOf(const Layer& top, const Layers& left_out, const Around& around) {
  Sight sight{.gone = {}, .skipped = top.id, .own_record = {}, .around = &around};
  Layers unneeded;
  for (const LayerPtr& layer : left_out) {
    sight.gone.insert(layer->id);
    // Its own entry counts, those of the layers above it do not any more.
    Sight own = sight;
    own.gone.erase(layer->id);
    // Whoever needs it needs all that is below it.
    if (layer->image->file().LockedByOthers()) break;
    if (!NeededBecause(layer->id, layer->path, own).empty()) break;
    unneeded.push_back(layer);
  }
  return unneeded;
}

std::vector<std::string> Catalog::Impl::Unneeded(const Layer& top, const Layers& left_out) {
  const Turn turn(mu_);
  std::vector<std::string> paths;
  const Result<Around> around = LookAround(left_out);
  // Of what cannot be told nobody may say that it is not needed.
  if (!around) return paths;
  for (const LayerPtr& layer : UnneededOf(top, left_out, *around)) paths.push_back(layer->path);
  return paths;
}

Status Catalog::Impl::ForgetInRecords(const std::string& path) {
  for (const auto& [active, entry] : entries_) {
    if (entry.disk == nullptr || entry.candidate.record.empty()) continue;
    CHAINFS_ASSIGN(KnownRecord known, RecordOf(entry));
    if (!known.text || known.contents.backing != path) continue;
    known.contents.backing.clear();
    RecordDirectory& store = sources_.records(entry.candidate.source);
    CHAINFS_TRY(store.Write(known.file, FormatChainRecord(known.contents, store.source_path())));
  }
  return {};
}

Status Catalog::Impl::CheckMayRemove(const Layer& layer, bool anywhere) {
  if (anywhere || roots_.FindNew(*layer.directory, layer.name, false)) return {};
  return Fail(ErrorKind::kAccess,
              EscapeText(fmt::format("{}: lies outside the source directories; only root may have "
                                     "it removed",
                                     layer.path)));
}

Status Catalog::Impl::RemoveLayerFile(const Layer& layer, bool anywhere) {
  CHAINFS_TRY(CheckMayRemove(layer, anywhere));
  CHAINFS_TRY(layer.directory->RemoveFile(layer.name, layer.id));
  return layer.directory->Sync();
}

LeftOutLayers Catalog::Impl::RemoveUnneeded(const Layer& top, const Layers& left_out,
                                            bool anywhere) {
  // Somebody may have built something on them that nobody has seen yet.
  (void)Rescan();
  LeftOutLayers result;
  {
    const Turn turn(mu_);
    const Result<Around> around = LookAround(left_out);
    Status removed = around ? Status() : std::unexpected(around.error());
    if (removed) {
      removed = closed_ ? Fail(ErrorKind::kShutdown, "the mount is shutting down")
                        : ScanLocked(ScanKind::kQuick);
    }
    const Layers unneeded = UnneededOf(top, left_out, around ? *around : Around());
    for (const LayerPtr& layer : unneeded) {
      if (removed) removed = ForgetInRecords(layer->path);
      if (removed) removed = RemoveLayerFile(*layer, anywhere);
      if (!removed) {
        result.unneeded.push_back(layer->path);
        continue;
      }
      result.removed.push_back(layer->path);
      // The next scan would do it, too.
      (void)RemoveMark(layer->id);
      MergedFurther(layer->path, top.path);
    }
    if (!removed) result.problem = EscapeText(removed.error().message);
    if (!result.removed.empty() && !ScanLocked(ScanKind::kQuick)) PublishLists();
  }
  DeliverEvents();
  return result;
}

std::vector<LayerReport> Catalog::Impl::LayersReport() {
  const Turn turn(mu_);
  std::map<FileId, LayerReport> reports;
  const auto add = [&](const FileId& id, const std::string& path, ImageFormat format,
                       uint64_t bytes) -> LayerReport& {
    LayerReport& report = reports[id];
    if (report.path.empty()) {
      report.path = path;
      report.format = format;
      report.actual_size = bytes;
    }
    return report;
  };
  const auto add_overlay = [](LayerReport& report, const std::string& overlay) {
    std::vector<std::string>& known = report.built_on_by;
    if (!overlay.empty() && std::ranges::find(known, overlay) == known.end()) {
      known.push_back(overlay);
    }
  };
  std::map<FileId, const Entry*> tops;
  for (const auto& [path, entry] : entries_) {
    if (entry.stat) tops.emplace(entry.id(), &entry);
    std::string above;
    if (entry.disk != nullptr) {
      for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) {
        LayerReport& report = add(layer->id, layer->path, layer->image->format(),
                                  layer->image->AllocatedBytes().value_or(0));
        add_overlay(report, std::exchange(above, layer->path));
      }
      continue;
    }
    for (const LayerFile& file : entry.walked.files) {
      LayerReport& report =
          add(file.stat.id, file.place.path, file.format, file.stat.allocated_bytes);
      add_overlay(report, std::exchange(above, file.place.path));
    }
  }
  const LayerUsers backed = BackedLayers();
  std::vector<LayerReport> all;
  for (auto& [id, report] : reports) {
    const auto user = backed.find(id);
    const auto top = tops.find(id);
    const Mark* const mark = top == tops.end() ? nullptr : MarkOf(*top->second);
    if (user != backed.end()) {
      report.reason = BuiltOn(user->second);
    } else if (mark != nullptr) {
      report.reason = NeededByItself(*top->second);
      if (report.reason.empty()) report.reason = NeededByRecord(id, report.path, {});
      if (report.reason.empty() && mark->lost) {
        report.reason = fmt::format("{}, which it was merged into, is gone", mark->contents.into);
      }
      report.needed = !report.reason.empty();
      if (!report.needed) report.reason = fmt::format("merged into {}", mark->contents.into);
    } else if (top != tops.end()) {
      const bool shown = top->second->disk != nullptr;
      report.reason = (shown ? "active layer of " : "not shown: ") + top->second->name;
    }
    all.push_back(std::move(report));
  }
  std::ranges::sort(all, {}, &LayerReport::path);
  return all;
}

}  // namespace chainfs
