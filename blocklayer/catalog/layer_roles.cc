// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layer_roles.h"

#include <fmt/format.h>
#include <algorithm>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

LayerUsers LayerRoles::Backed() {
  LayerUsers backed;
  const auto add = [&](const FileId& id, const std::string& name) {
    backed.try_emplace(id, LayerUser{.name = name, .advice = {}});
  };
  const auto add_disk = [&](const Disk& disk) {
    const Layers layers = disk.chain()->AllLayers();
    for (size_t i = 1; i < layers.size(); ++i) add(layers[i]->id, disk.name());
  };
  for (const auto& [path, entry] : chains_.entries()) {
    // An image that names itself has that fault only.
    for (const FileId& id : entry.also_below) {
      if (id != entry.id()) add(id, entry.name);
    }
    if (entry.disk != nullptr) {
      add_disk(*entry.disk);
      continue;
    }
    for (const FileId& id : entry.kept_below) add(id, entry.name);
    for (const FileId& id : entry.walked.Below()) {
      if (id != entry.id()) add(id, entry.name);
    }
    for (const std::string& kept : entry.candidate.keeps) {
      const auto found = chains_.entries().find(kept);
      if (found != chains_.entries().end() && found->second.stat)
        add(found->second.id(), entry.name);
    }
  }
  for (const DiskPtr& ghost : chains_.Ghosts()) add_disk(*ghost);
  backed.insert(hidden_.users().begin(), hidden_.users().end());
  return backed;
}

LayerUsers LayerRoles::Written() {
  LayerUsers written;
  for (const auto& [path, entry] : chains_.entries()) {
    if (entry.disk == nullptr || entry.frozen) continue;
    written.try_emplace(entry.id(), LayerUser{.name = entry.name, .advice = {}});
  }
  for (const DiskPtr& ghost : chains_.Ghosts()) {
    if (ghost->StopWriting()) continue;
    written.try_emplace(ghost->chain()->active->id, LayerUser{.name = ghost->name(), .advice = {}});
  }
  return written;
}

LayerUsers LayerRoles::DataFiles() {
  LayerUsers users;
  for (const auto& [path, entry] : chains_.entries()) {
    const auto add = [&](const FileId& id) {
      users.try_emplace(id, LayerUser{.name = entry.name, .advice = {}});
    };
    for (const FileId& id : entry.walked.data_files) add(id);
    if (entry.disk == nullptr) continue;
    for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) {
      if (layer->data_directory == nullptr) continue;
      for (File* const file : layer->image->HostFiles()) {
        const Result<FileStat> stat = file->Stat();
        if (stat && stat->id != layer->id) add(stat->id);
      }
    }
  }
  return users;
}

bool LayerRoles::Freeze(CatalogEntry& entry, const LayerUser& user) {
  if (!entry.disk->StopWriting()) {
    entry.frozen_because =
        BuiltOn(user, ", but it is open for writing; it turns read-only when it is closed");
    return false;
  }
  // Others may read the file from now on. A failure reaches the disk's error observer, and nothing
  // that was acknowledged as durable is missing.
  if (entry.disk->Flush()) (void)entry.disk->Settle();
  // Fewer locks cannot conflict.
  (void)pool_.SetRole(entry.disk->chain()->active, LayerRole::kBacking);
  entry.frozen = true;
  entry.frozen_because = ReasonOf(entry, user);
  events_.Add([disk = entry.disk](CatalogObserver& observer) { observer.AccessChanged(disk); });
  return true;
}

bool LayerRoles::FreezeForJob(CatalogEntry& entry) {
  const std::string because = entry.frozen_because;
  if (Freeze(entry, {})) {
    entry.frozen_because = kStillBacked;
    return true;
  }
  entry.frozen_because = because;
  return false;
}

void LayerRoles::Thaw(CatalogEntry& entry) {
  const LayerPtr active = entry.disk->chain()->active;
  if (!entry.thawing.IsDue()) return;
  // For an image that was opened while something was built on it, this opens it for writing.
  const Status able = pool_.SetRole(active, LayerRole::kActive);
  entry.thawing.Reset();
  if (!able || !active->image->writable()) {
    // An attempt that ends in closing the file again would be news for who watches the directory.
    const bool was_closed =
        !able && able.error().kind != ErrorKind::kReadOnly && able.error().kind != ErrorKind::kBusy;
    if (was_closed) entry.thawing.Failed();
    const bool says_why = able || able.error().kind == ErrorKind::kReadOnly;
    entry.frozen_because =
        fmt::format("read-only: {}", says_why ? active->ReadOnlyReason() : able.error().message);
    return;
  }
  if (!entry.disk->AllowWriting()) {
    // Fewer locks cannot conflict.
    (void)pool_.SetRole(active, LayerRole::kBacking);
    entry.frozen_because = kStillBacked;
    return;
  }
  entry.frozen = false;
  entry.frozen_because.clear();
  events_.Add([disk = entry.disk](CatalogObserver& observer) { observer.AccessChanged(disk); });
}

std::string LayerRoles::ReasonOf(const CatalogEntry& entry, const LayerUser& user) const {
  // That is the news.
  const LeftOutMarks::Mark* const mark = marks_.Changing(entry);
  return mark != nullptr ? mark->Reason() : fmt::format("read-only: {}", BuiltOn(user));
}

void LayerRoles::Update(const LayerUsers& backed) {
  for (auto& [path, entry] : chains_.entries()) {
    if (entry.disk == nullptr || read_only_) continue;
    const auto user = backed.find(entry.id());
    if (user != backed.end() && !entry.frozen) {
      (void)Freeze(entry, user->second);
    } else if (user != backed.end()) {
      entry.thawing.Reset();
      entry.frozen_because = ReasonOf(entry, user->second);
    } else if (const LeftOutMarks::Mark* const mark = marks_.Of(entry); mark != nullptr) {
      entry.thawing.Reset();
      if (entry.frozen || Freeze(entry, {})) entry.frozen_because = mark->Reason();
    } else if (entry.frozen) {
      Thaw(entry);
    } else {
      entry.frozen_because.clear();
    }
  }
}

}  // namespace chainfs
