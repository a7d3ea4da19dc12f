// SPDX-License-Identifier: Apache-2.0
//
// Roles: which images guests may write. An image that another one is built on must not change any
// more, or the other one's contents would change with it. So its disk turns read-only as soon as
// nobody has it open for writing, and back again when nothing is built on it any longer.
#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/catalog/catalog_impl.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Catalog::Impl::LayerUsers Catalog::Impl::BackedLayers() {
  LayerUsers backed;
  const auto add = [&](const FileId& id, const std::string& name) {
    backed.try_emplace(id, LayerUser{.name = name, .advice = {}});
  };
  const auto add_disk = [&](const Disk& disk) {
    const Layers layers = disk.chain()->AllLayers();
    for (size_t i = 1; i < layers.size(); ++i) add(layers[i]->id, disk.name());
  };
  for (const auto& [path, entry] : entries_) {
    // An image that names itself has that fault only.
    for (const FileId& id : entry.also_below) {
      if (id != entry.id()) add(id, entry.name);
    }
    if (entry.disk != nullptr) {
      add_disk(*entry.disk);
      continue;
    }
    for (const FileId& id : entry.walked.Below()) {
      if (id != entry.id()) add(id, entry.name);
    }
    for (const std::string& kept : entry.candidate.keeps) {
      const auto found = entries_.find(kept);
      if (found != entries_.end() && found->second.stat) add(found->second.id(), entry.name);
    }
  }
  std::erase_if(ghosts_, [](const std::weak_ptr<Disk>& ghost) { return ghost.expired(); });
  for (const std::weak_ptr<Disk>& ghost : ghosts_) {
    if (const DiskPtr disk = ghost.lock()) add_disk(*disk);
  }
  backed.insert(hidden_users_.begin(), hidden_users_.end());
  return backed;
}

Catalog::Impl::LayerUsers Catalog::Impl::WrittenLayers() {
  LayerUsers written;
  for (const auto& [path, entry] : entries_) {
    if (entry.disk == nullptr || entry.frozen) continue;
    written.try_emplace(entry.id(), LayerUser{.name = entry.name, .advice = {}});
  }
  for (const std::weak_ptr<Disk>& ghost : ghosts_) {
    const DiskPtr disk = ghost.lock();
    if (disk != nullptr && !disk->StopWriting()) {
      written.try_emplace(disk->chain()->active->id, LayerUser{.name = disk->name(), .advice = {}});
    }
  }
  return written;
}

std::string Catalog::Impl::BuiltOn(const LayerUser& user, std::string_view but) {
  return fmt::format("{} is built on it{}{}", user.name, but, user.advice);
}

bool Catalog::Impl::Freeze(Entry& entry, const LayerUser& user) {
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
  entry.frozen_because = fmt::format("read-only: {}", BuiltOn(user));
  Queue([disk = entry.disk](CatalogObserver& observer) { observer.AccessChanged(disk); });
  return true;
}

void Catalog::Impl::Thaw(Entry& entry) {
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
  Queue([disk = entry.disk](CatalogObserver& observer) { observer.AccessChanged(disk); });
}

void Catalog::Impl::UpdateRoles(const LayerUsers& backed) {
  for (auto& [path, entry] : entries_) {
    if (entry.disk == nullptr || options_.read_only) continue;
    const auto user = backed.find(entry.id());
    if (user != backed.end() && !entry.frozen) {
      (void)Freeze(entry, user->second);
    } else if (user != backed.end()) {
      entry.thawing.Reset();
      entry.frozen_because = fmt::format("read-only: {}", BuiltOn(user->second));
    } else if (const Mark* const mark = MarkOf(entry); mark != nullptr) {
      entry.thawing.Reset();
      if (entry.frozen || Freeze(entry, {})) entry.frozen_because = MergedText(*mark);
    } else if (entry.frozen) {
      Thaw(entry);
    } else {
      entry.frozen_because.clear();
    }
  }
}

void Catalog::Impl::DropLayersBetween(const LayerPtr& top, const LayerPtr& base) {
  const auto shorten = [&](Disk& disk) {
    const Layers layers = disk.chain()->AllLayers();
    const auto top_at = std::ranges::find(layers, top);
    if (top_at == layers.end()) return false;
    const auto base_at = base == nullptr ? layers.end() : std::find(top_at + 1, layers.end(), base);
    // Without `base` in it this is another chain; and next to each other there is nothing to drop.
    if ((base != nullptr && base_at == layers.end()) || base_at == top_at + 1) return false;
    Layers shorter(layers.begin(), top_at + 1);
    shorter.insert(shorter.end(), base_at, layers.end());
    // If it fails, the longer list goes on showing the same.
    return disk.ReplaceLayers(std::move(shorter)).has_value();
  };
  {
    const Turn turn(mu_);
    std::vector<DiskPtr> shortened;
    for (auto& [path, entry] : entries_) {
      if (entry.disk != nullptr && shorten(*entry.disk)) shortened.push_back(entry.disk);
    }
    for (const std::weak_ptr<Disk>& ghost : ghosts_) {
      if (const DiskPtr disk = ghost.lock()) (void)shorten(*disk);
    }
    UpdateRoles(BackedLayers());
    PublishLists();
    for (const DiskPtr& disk : shortened) {
      Queue([disk](CatalogObserver& observer) { observer.ChainChanged(disk); });
    }
  }
  DeliverEvents();
}

}  // namespace chainfs
