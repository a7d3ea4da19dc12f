// SPDX-License-Identifier: Apache-2.0
//
// ShownLists: what the catalog shows: its disks by name, what is broken, and what people should
// know. The lists are replaced after every change, and read without waiting for one.
//
// Threads: any. mu_ is a leaf, never held across I/O.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "blocklayer/base/backoff.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/catalog_types.h"
#include "blocklayer/chain/disk.h"

namespace chainfs {

class BackgroundRepairs;
class EventQueue;

class ShownLists {
 public:
  std::vector<DiskPtr> Disks() const EXCLUDES(mu_);         // sorted by name
  DiskPtr Find(std::string_view name) const EXCLUDES(mu_);  // null when there is none
  std::vector<BrokenImage> Broken() const EXCLUDES(mu_);
  // Whether the disk called `name` will appear when its image has been checked.
  bool BeingChecked(std::string_view name) const EXCLUDES(mu_);
  // Somebody wants the disk called `name`, which could not be opened for a reason that may have
  // passed: whether another Rescan tries.
  bool AskFor(std::string_view name) EXCLUDES(mu_);
  // When a Rescan would try again what failed for such a reason, though no file has changed.
  std::optional<Backoff::Clock::time_point> NextRetry() const EXCLUDES(mu_);
  std::vector<ImageNote> Notes() const EXCLUDES(mu_);  // sorted by name
  // Names of disks, and of broken images, whose chains contain `layer`.
  std::vector<std::string> DisksUsing(const Layer& layer) const EXCLUDES(mu_);

 protected:
  struct Lists {
    std::map<std::string, DiskPtr, std::less<>> disks;
    std::vector<BrokenImage> broken;  // sorted by name
    std::vector<ImageNote> notes;
    // Names of broken images and the layers that they are built on.
    std::vector<std::pair<std::string, FileId>> broken_uses;
    std::optional<Backoff::Clock::time_point> next_retry;
  };

  // `read_only`: of the mount.
  explicit ShownLists(bool read_only) : read_only_(read_only) {}
  ~ShownLists() = default;
  ShownLists(const ShownLists&) = delete;
  ShownLists& operator=(const ShownLists&) = delete;

  // Whom to ask how far the check of a broken image is, until Clear.
  void SetRepairs(const BackgroundRepairs* repairs) { repairs_ = repairs; }
  void Publish(const Lists& lists, EventQueue& events) EXCLUDES(mu_);
  // Whether somebody asked for that disk since the last call; forgets it.
  bool TakeRequest(const std::string& name) EXCLUDES(mu_);
  void Clear() EXCLUDES(mu_);
  // How much is held, for tests.
  size_t Held() const EXCLUDES(mu_);

 private:
  friend class EntryOpener;
  friend class ListPublisher;

  bool IsTriedAgain(std::string_view name) const REQUIRES(mu_);

  const bool read_only_;
  const BackgroundRepairs* repairs_ = nullptr;
  mutable Mutex mu_;
  Lists lists_ GUARDED_BY(mu_);
  std::set<std::string> asked_for_ GUARDED_BY(mu_);  // names of broken images
  Backoff::Clock::time_point last_asked_ GUARDED_BY(mu_);
};

}  // namespace chainfs
