// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/shown_lists.h"

#include <fmt/format.h>
#include <algorithm>
#include <iterator>
#include <tuple>

#include "blocklayer/catalog/background_repairs.h"
#include "blocklayer/catalog/catalog_entry.h"
#include "blocklayer/catalog/event_queue.h"

namespace chainfs {

std::vector<DiskPtr> ShownLists::Disks() const {
  const MutexLock lock(mu_);
  std::vector<DiskPtr> disks;
  disks.reserve(lists_.disks.size());
  for (const auto& [name, disk] : lists_.disks) disks.push_back(disk);
  return disks;
}

DiskPtr ShownLists::Find(std::string_view name) const {
  const MutexLock lock(mu_);
  const auto found = lists_.disks.find(name);
  return found == lists_.disks.end() ? nullptr : found->second;
}

std::vector<BrokenImage> ShownLists::Broken() const {
  std::vector<BrokenImage> broken = [&] {
    const MutexLock lock(mu_);
    return lists_.broken;
  }();
  for (BrokenImage& image : broken) {
    if (!image.being_checked) continue;
    image.error.message += fmt::format(" ({} % done)", repairs_->Percent(*image.being_checked));
  }
  return broken;
}

bool ShownLists::BeingChecked(std::string_view name) const {
  const MutexLock lock(mu_);
  return std::ranges::any_of(lists_.broken, [&](const BrokenImage& image) {
    return image.being_checked && image.name == name;
  });
}

bool ShownLists::IsTriedAgain(std::string_view name) const {
  return std::ranges::any_of(lists_.broken, [&](const BrokenImage& image) {
    return image.tried_again && image.name == name;
  });
}

bool ShownLists::AskFor(std::string_view name) {
  // Somebody who keeps asking must not keep the scans busy.
  constexpr std::chrono::milliseconds kPause(250);
  const auto now = Backoff::Clock::now();
  const MutexLock lock(mu_);
  if (!IsTriedAgain(name) || now < last_asked_ + kPause) return false;
  last_asked_ = now;
  asked_for_.emplace(name);
  return true;
}

std::optional<Backoff::Clock::time_point> ShownLists::NextRetry() const {
  const MutexLock lock(mu_);
  return lists_.next_retry;
}

std::vector<ImageNote> ShownLists::Notes() const {
  const auto is_reason = [](const ImageNote& note) {
    return note.text.starts_with(kReadOnlyPrefix);
  };
  std::vector<ImageNote> notes = [&] {
    const MutexLock lock(mu_);
    return lists_.notes;
  }();
  // Why disks are read-only they say themselves, as it is now: one may have turned so since the
  // last scan, by an error.
  std::vector<ImageNote> then;
  std::ranges::copy_if(notes, std::back_inserter(then), is_reason);
  std::erase_if(notes, is_reason);
  if (read_only_) notes.push_back({.name = {}, .text = std::string(kMountReadOnly)});
  for (const DiskPtr& disk : Disks()) {
    const std::string why = disk->ReadOnlyReason();
    if (why.empty() || (read_only_ && why == kMountReadOnly)) continue;
    ImageNote note{.name = disk->name(), .text = fmt::format("{}{}", kReadOnlyPrefix, why)};
    note.warning = std::ranges::any_of(then, [&](const ImageNote& other) {
      return other.warning && other.name == note.name && other.text == note.text;
    });
    notes.push_back(std::move(note));
  }
  std::ranges::sort(notes, [](const ImageNote& a, const ImageNote& b) {
    return std::tie(a.name, a.text) < std::tie(b.name, b.text);
  });
  return notes;
}

std::vector<std::string> ShownLists::DisksUsing(const Layer& layer) const {
  const MutexLock lock(mu_);
  std::set<std::string> names;
  for (const auto& [name, disk] : lists_.disks) {
    const Layers layers = disk->chain()->AllLayers();
    const auto is_layer = [&](const LayerPtr& other) { return other.get() == &layer; };
    if (std::ranges::any_of(layers, is_layer)) names.insert(name);
  }
  for (const auto& [name, id] : lists_.broken_uses) {
    if (id == layer.id) names.insert(name);
  }
  return {names.begin(), names.end()};
}

bool ShownLists::TakeRequest(const std::string& name) {
  const MutexLock lock(mu_);
  return asked_for_.erase(name) > 0;
}

void ShownLists::Publish(const Lists& lists, EventQueue& events) {
  Lists before;
  {
    const MutexLock lock(mu_);
    before = std::exchange(lists_, lists);
    std::erase_if(asked_for_,
                  [&](const std::string& name) REQUIRES(mu_) { return !IsTriedAgain(name); });
  }
  for (const ImageNote& note : lists.notes) {
    if (!note.warning) continue;
    const bool known = std::ranges::any_of(before.notes, [&](const ImageNote& other) {
      return other.name == note.name && other.text == note.text;
    });
    if (!known) events.Add([note](CatalogObserver& observer) { observer.Warned(note); });
  }
  for (const BrokenImage& image : lists.broken) {
    const bool known = std::ranges::any_of(before.broken, [&](const BrokenImage& other) {
      return other.path == image.path && other.error.kind == image.error.kind &&
             other.error.message == image.error.message;
    });
    if (!known) events.Add([image](CatalogObserver& observer) { observer.ImageBroken(image); });
  }
}

void ShownLists::Clear() {
  Lists let_go;
  const MutexLock lock(mu_);
  std::swap(let_go, lists_);
}

size_t ShownLists::Held() const {
  const MutexLock lock(mu_);
  return asked_for_.size() + lists_.notes.size() + lists_.broken.size();
}

}  // namespace chainfs
