// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/list_publisher.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "blocklayer/catalog/disk_notes.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

// Says what to do where too many files are open.
void NameTheLimit(Error& error) {
  if (error.sys_errno == EMFILE) {
    error.message += "; raise the limit (LimitNOFILE= of the service, ulimit -n)";
  } else if (error.sys_errno == ENFILE) {
    error.message += "; raise the limit of the host (sysctl fs.file-max)";
  }
}

}  // namespace

void ListPublisher::TellReason(const CatalogEntry& entry) const {
  const std::string because = EscapeText(entry.frozen_because);
  if (because.starts_with(kReadOnlyPrefix)) {
    entry.disk->access().SetReason(because.substr(kReadOnlyPrefix.size()));
  } else if (read_only_) {
    entry.disk->access().SetReason(std::string(kMountReadOnly));
  }
}

std::optional<Backoff::Clock::time_point> ListPublisher::NextRetry() const {
  std::optional<Backoff::Clock::time_point> first;
  for (const auto& [path, entry] : chains_.entries()) {
    std::optional<Backoff::Clock::time_point> next;
    if (entry.disk != nullptr) {
      next = entry.thawing.next();
    } else if (entry.IsTriedAgain()) {
      next = entry.opening.next();
    }
    if (next && (!first || *next < *first)) first = next;
  }
  return first;
}

void ListPublisher::Publish() {
  ShownLists::Lists lists;
  DiskNotes notes(chains_.entries(), hidden_);
  for (const auto& [path, entry] : chains_.entries()) {
    if (entry.disk != nullptr) {
      lists.disks.emplace(entry.name, entry.disk);
      records_.SetSource(entry.disk, entry.candidate.source);
      notes.Add(entry, lists.notes);
      TellReason(entry);
      continue;
    }
    BrokenImage image{.name = EscapeText(entry.name),
                      .path = EscapeText(path),
                      .error = entry.error.value_or(Error{}),
                      .being_checked = entry.being_checked,
                      .held_by = entry.held_by,
                      .named_by_user = entry.candidate.named_by_user,
                      .tried_again = entry.IsTriedAgain()};
    NameTheLimit(image.error);
    image.error.message = EscapeText(image.error.message);
    lists.broken_uses.emplace_back(image.name, entry.id());
    for (const FileId& id : entry.walked.Below()) lists.broken_uses.emplace_back(image.name, id);
    // Without an error it was only not tried yet.
    const bool expected = entry.candidate.named_by_user || !entry.shut_out;
    if (entry.error && expected) lists.broken.push_back(std::move(image));
  }
  SnapshotDisks::Shown shown = snapshots_.Update(chains_.entries());
  for (const DiskPtr& disk : shown.disks) lists.disks.emplace(disk->name(), disk);
  for (BrokenImage& image : shown.broken) {
    image.error.message = EscapeText(image.error.message);
    lists.broken.push_back(std::move(image));
  }
  chains_.ShowSnapshots(std::move(shown.disks));
  std::ranges::sort(lists.broken, {}, &BrokenImage::name);
  for (const auto& [id, user] : hidden_.users()) lists.broken_uses.emplace_back(user.name, id);
  lists.next_retry = NextRetry();
  lists_.Publish(lists, events_);
}

}  // namespace chainfs
