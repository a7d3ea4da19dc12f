// SPDX-License-Identifier: Apache-2.0
//
// Names of the chains in view: who gets which, and which ones the next mount must be told. The
// rules are those of name_rules.h.
//
// Threads: CatalogParts::mu.
#pragma once

#include "blocklayer/catalog/catalog_entry.h"

namespace chainfs {

// Gives every entry its name. Names in use come first; then those that people chose, then what is
// left.
void NameEntries(CatalogEntries& entries);
// Has names remembered that the next mount would give otherwise. `read_only`: nothing beside the
// images is written.
void RememberNames(CatalogEntries& entries, Sources& sources, bool read_only);

}  // namespace chainfs
