// SPDX-License-Identifier: Apache-2.0
//
// FindDropped: whether a file that a chain's record says the chain has left is still there.
//
// Threads: needs CatalogParts::mu, for the roots.
#pragma once

#include <span>
#include <string>

#include "blocklayer/catalog/chain_record.h"
#include "blocklayer/catalog/roots.h"
#include "blocklayer/chain/layer.h"

namespace chainfs {

struct DroppedFile {
  FileLocation location;
  FileId id;
};

// kNotFound when it is gone, or another file has its name. `extra`: the roots of the record.
Result<DroppedFile> FindDropped(Roots& roots, const ChainRecord::Dropped& dropped,
                                std::span<const std::string> extra);

// What a record is to say of a layer that is left.
ChainRecord::Dropped DroppedOf(const Layer& layer);

}  // namespace chainfs
