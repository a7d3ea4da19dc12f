// SPDX-License-Identifier: Apache-2.0
//
// EventQueue: what the observer of the catalog is to be told, in the order of the changes. Changes
// are queued under the catalog's locks and delivered when none is held.
//
// Threads: any. mu_ is a leaf; the observer is called without it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <thread>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/catalog_observer.h"

namespace chainfs {

class EventQueue {
 public:
  using Event = std::function<void(CatalogObserver&)>;

  // At most one; null: nobody is told. On return the one before is not being told of an event any
  // more, unless it calls this itself. Who took it from observer() may still be using it.
  void SetObserver(CatalogObserver* observer) EXCLUDES(mu_);
  CatalogObserver* observer() const { return observer_.load(); }

  void Add(Event event) EXCLUDES(mu_);
  // On return the observer was told of everything that was queued before, unless the observer
  // itself calls. With no lock held that an observer may want.
  void Deliver() EXCLUDES(mu_);

 private:
  std::atomic<CatalogObserver*> observer_ = nullptr;
  Mutex mu_;
  std::deque<Event> events_ GUARDED_BY(mu_);
  // How many were ever queued, and how many of them the observer has been told.
  uint64_t queued_ GUARDED_BY(mu_) = 0;
  uint64_t delivered_ GUARDED_BY(mu_) = 0;
  std::thread::id deliverer_ GUARDED_BY(mu_);  // none when nobody delivers
  CondVar one_delivered_;
};

}  // namespace chainfs
