// SPDX-License-Identifier: Apache-2.0
//
// ChainRecords: the durable records of the chains in view, read and put back.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/catalog/chain_set.h"

namespace chainfs {

class ChainRecords {
 public:
  struct Known {
    std::string file;                 // name in .chainfs
    std::optional<std::string> text;  // as it is; nothing when there is none yet
    ChainRecord contents;
  };

  // The references outlive this.
  ChainRecords(Sources& sources, ChainSet& chains) : sources_(sources), chains_(chains) {}

  // What the record says now; the chain as it is when it has none.
  Result<Known> Of(const CatalogEntry& entry);
  Status Write(const CatalogEntry& entry, const std::string& file, const ChainRecord& record);
  // As it was.
  Status Restore(const CatalogEntry& entry, const Known& known);
  // No record of a chain that is shown goes on naming `path` as what it was built on.
  Status ForgetBacking(const std::string& path);

 private:
  Sources& sources_;
  ChainSet& chains_;
};

}  // namespace chainfs
