// SPDX-License-Identifier: Apache-2.0
//
// EntryOpener: from an entry that was walked to its disk, or to the reason why it has none, and
// when to try again.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <memory>

#include "blocklayer/catalog/background_repairs.h"
#include "blocklayer/catalog/catalog_entry.h"
#include "blocklayer/catalog/event_queue.h"
#include "blocklayer/catalog/layer_users.h"
#include "blocklayer/catalog/left_out_marks.h"
#include "blocklayer/catalog/shown_lists.h"

namespace chainfs {

class EntryOpener {
 public:
  // The references outlive this; disks keep `context` alive.
  EntryOpener(std::shared_ptr<BlockContext> context, LayerPool& pool, BackgroundRepairs& repairs,
              LeftOutMarks& marks, ShownLists& lists, EventQueue& events, bool read_only)
      : context_(std::move(context)),
        pool_(pool),
        repairs_(repairs),
        marks_(marks),
        lists_(lists),
        events_(events),
        read_only_(read_only) {}

  // What files are to others, as LayerRoles says.
  struct Users {
    LayerUsers backed;
    LayerUsers written;
    LayerUsers data_files;
  };
  void Open(CatalogEntry& entry, ChainOpener& opener, const Users& users);

 private:
  // Whether a broken one is worth another attempt at opening it.
  bool IsWorthOpening(CatalogEntry& entry);
  Status CheckOpenable(const CatalogEntry& entry, const Users& users) const;
  Result<Layers> OpenLayers(const CatalogEntry& entry, ChainOpener& opener,
                            const LayerUsers& backed, const std::optional<Error>& before);
  Status MakeDisk(CatalogEntry& entry, Layers layers, const LayerUsers& backed);
  // It could not be opened, for the reason in `entry.error`.
  void OpeningFailed(CatalogEntry& entry);

  const std::shared_ptr<BlockContext> context_;
  LayerPool& pool_;
  BackgroundRepairs& repairs_;
  LeftOutMarks& marks_;
  ShownLists& lists_;
  EventQueue& events_;
  const bool read_only_;
};

}  // namespace chainfs
