// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/scanner.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "blocklayer/catalog/chain_names.h"

namespace chainfs {
namespace {

constexpr int kMaxScanAttempts = 3;

}  // namespace

Status Scanner::Scan(Kind kind) {
  // Where nothing is written, nothing needs to be kept from it.
  if (kind == Kind::kFull && !read_only_ && !p_.hidden.Scan()) p_.wake_up.Call();
  for (int attempt = 1;; ++attempt) {
    CHAINFS_ASSIGN(Inventory inventory, p_.sources.Collect());
    const std::string texts = inventory.record_texts;
    const std::vector<InterruptedChange> interrupted = inventory.interrupted;
    const uint64_t number = ++scans_;
    CHAINFS_TRY(p_.marks.Load());
    p_.marks.AddMerged(inventory.interrupted);
    const bool opened = Reconcile(std::move(inventory), kind);
    if (p_.pauses.closing()) break;
    if (opened && attempt < kMaxScanAttempts) {
      CHAINFS_ASSIGN(const std::string texts_now, p_.sources.RecordTexts());
      if (texts_now != texts) continue;
    }
    // What was let in meanwhile may have changed the records, and has looked after them itself.
    if (number == scans_ && !read_only_) p_.recovery.Finish(interrupted);
    if (kind == Kind::kFull && !read_only_) p_.recovery.ForgetRemains();
    break;
  }
  ForgetRepairs();
  RememberNames(p_.chains.entries(), p_.sources, read_only_);
  ForgetTheGone();
  p_.publisher.Publish();
  return {};
}

void Scanner::ShowChanges() {
  if (!Scan(Kind::kQuick)) p_.publisher.Publish();
}

void Scanner::UpdateRoles() {
  p_.roles.Update(p_.roles.Backed());
  p_.publisher.Publish();
}

bool Scanner::Reconcile(Inventory inventory, Kind kind) {
  ChainOpener opener = openers_.New();
  std::set<FileId> condemned = p_.marks.Changed();
  condemned.merge(inventory.condemned);
  p_.chains.SetCondemned(std::move(condemned));
  CatalogEntries& entries = p_.chains.entries();
  CatalogEntries old = std::move(entries);
  entries = p_.matcher.Match(std::move(inventory.candidates), opener, old);
  for (auto& [path, entry] : old) p_.chains.Retire(entry);
  NameEntries(entries);
  p_.hidden.Update();
  p_.roles.Update(p_.roles.Backed());
  return OpenEntries(opener, kind);
}

bool Scanner::IsQuicklyOpened(const CatalogEntry& entry) const {
  return entry.walked.error || std::ranges::all_of(entry.walked.files, [&](const LayerFile& file) {
           return p_.pool.Find(file.stat.id) != nullptr;
         });
}

bool Scanner::OpenEntries(ChainOpener& opener, Kind kind) {
  CatalogEntries& entries = p_.chains.entries();
  // First those that follow a record: once they are open, what else their record names is history.
  std::vector<std::string> paths;
  for (const bool by_record : {true, false}) {
    for (const auto& [path, entry] : entries) {
      const bool follows = !entry.candidate.record.empty();
      if (entry.disk == nullptr && follows == by_record) paths.push_back(path);
    }
  }
  const auto look = [&] {
    return EntryOpener::Users{.backed = p_.roles.Backed(),
                              .written = p_.roles.Written(),
                              .data_files = p_.roles.DataFiles()};
  };
  EntryOpener::Users users = look();
  bool opened = false;
  bool follower_opened = false;
  for (const std::string& path : paths) {
    if (p_.pauses.closing()) break;
    const bool others_were_in = kind == Kind::kFull && p_.pauses.LetOthersIn();
    const auto found = entries.find(path);
    const bool followers_done =
        follower_opened && found != entries.end() && found->second.candidate.record.empty();
    if (others_were_in || followers_done) {
      users = look();
      follower_opened = false;
    }
    if (found == entries.end() || found->second.disk != nullptr) continue;
    if (kind == Kind::kQuick && !IsQuicklyOpened(found->second)) continue;
    p_.opener.Open(found->second, opener, users);
    if (found->second.disk == nullptr) continue;
    opened = true;
    follower_opened = follower_opened || !found->second.candidate.record.empty();
  }
  return opened;
}

void Scanner::ForgetRepairs() {
  std::set<FileId> dirty;
  for (const auto& [path, entry] : p_.chains.entries()) {
    if (entry.stat) dirty.insert(entry.stat->id);
    for (const LayerFile& file : entry.walked.files) dirty.insert(file.stat.id);
    if (entry.disk == nullptr) continue;
    for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) dirty.insert(layer->id);
  }
  p_.repairs.KeepOnly(dirty);
}

void Scanner::ForgetTheGone() {
  p_.chains.ForgetGhosts();
  p_.pool.Prune();
  p_.roots.Prune();
  p_.records.Prune();
}

}  // namespace chainfs
