// SPDX-License-Identifier: Apache-2.0
//
// blockdev-snapshot-sync, alone or as an action of a transaction, and blockdev-snapshot.
#pragma once

#include <optional>
#include <string>

#include "ctl/qmp/client.h"
#include "ctl/qmp/parameters.h"

namespace chainfs::qmp {

// What is to be done, checked as far as this can be without doing it.
struct SnapshotOrder {
  DiskPtr disk;
  verbs::Arguments arguments;  // of the verb
  std::string file;
  std::optional<std::string> overlay_name;

  // Once it is done: the overlay gets its node name.
  void NameOverlay(Client& client) const;
};
std::expected<SnapshotOrder, QmpError> TakeSnapshotOrder(Client& client, Parameters& parameters);

// Onto an image that blockdev-add has named, and that holds nothing.
Answer BlockdevSnapshot(Client& client, Parameters& parameters);
Answer BlockdevSnapshotSync(Client& client, Parameters& parameters);

}  // namespace chainfs::qmp
