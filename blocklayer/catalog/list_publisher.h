// SPDX-License-Identifier: Apache-2.0
//
// ListPublisher: makes the lists of what is shown (shown_lists.h) from the entries.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include "blocklayer/catalog/chain_set.h"
#include "blocklayer/catalog/hidden_users.h"
#include "blocklayer/catalog/record_store.h"
#include "blocklayer/catalog/shown_lists.h"
#include "blocklayer/catalog/snapshot_disks.h"

namespace chainfs {

class ListPublisher {
 public:
  // The references outlive this.
  ListPublisher(ChainSet& chains, SnapshotDisks& snapshots, HiddenUsers& hidden,
                RecordStore& records, EventQueue& events, ShownLists& lists, bool read_only)
      : chains_(chains),
        snapshots_(snapshots),
        hidden_(hidden),
        records_(records),
        events_(events),
        lists_(lists),
        read_only_(read_only) {}

  // After every change of the entries. Queues ImageBroken and Warned for what is new.
  void Publish();

 private:
  // The disk learns why it is read-only, if it is by the will of the catalog.
  void TellReason(const CatalogEntry& entry) const;
  // When the next scan finds something to try again.
  std::optional<Backoff::Clock::time_point> NextRetry() const;

  ChainSet& chains_;
  SnapshotDisks& snapshots_;
  HiddenUsers& hidden_;
  RecordStore& records_;
  EventQueue& events_;
  ShownLists& lists_;
  const bool read_only_;
};

}  // namespace chainfs
