// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/disk_notes.h"

#include <fmt/format.h>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

void DiskNotes::Add(const CatalogEntry& entry, std::vector<ImageNote>& notes) {
  const auto hidden = hidden_.notes().find(entry.id());
  const auto user = hidden_.users().find(entry.id());
  const bool is_reason =
      user != hidden_.users().end() && entry.frozen_because.ends_with(user->second.advice);
  const std::string also =
      hidden == hidden_.notes().end() || is_reason ? std::string() : hidden->second;
  const auto note = [&](const std::string& text, bool warning, bool lost = false) {
    if (text.empty()) return;
    notes.push_back(
        {.name = entry.name, .text = EscapeText(text), .warning = warning, .lost = lost});
  };
  note(entry.frozen_because, is_reason);
  note(also, true);
  note(entry.hint, false);
  note(LostLayer(*entry.disk), true, true);
}

std::string DiskNotes::FateOf(const Layer& layer) const {
  const auto found = entries_.find(layer.path);
  const Result<FileId> leads = layer.directory->WhereLeads(layer.name);
  if ((found != entries_.end() && found->second.stat && found->second.id() != layer.id) ||
      (leads && *leads != layer.id)) {
    return "was replaced; the disk goes on with the file as it was opened";
  }
  if (leads || leads.error().kind != ErrorKind::kNotFound) return {};
  const Result<FileStat> stat = layer.image->file().Stat();
  if (stat && stat->links == 0) {
    return "was removed; the disk goes on with it while this mount lasts: stream it away or copy "
           "the disk before you unmount";
  }
  return "was moved or renamed; the disk goes on with it while this mount lasts: put it back "
         "before you unmount";
}

std::string DiskNotes::LostLayer(const Disk& disk) {
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    const auto [fate, is_new] = fates_.try_emplace(layer.get());
    if (is_new) fate->second = FateOf(*layer);
    if (!fate->second.empty()) return fmt::format("{} {}", layer->path, fate->second);
  }
  return {};
}

}  // namespace chainfs
