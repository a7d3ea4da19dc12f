// SPDX-License-Identifier: Apache-2.0
//
// BackingNames: what image headers call their backing files. A name belongs to a place in a chain,
// not to a file: one file may be named differently by two chains (through links), and a file that
// is open may have been renamed, or replaced by another one of its name. So before a name is
// written anywhere durable, it is walked as a later reader would walk it, and must lead to the same
// file; else the command is refused.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/catalog_entry.h"

namespace chainfs {

class BackingNames {
 public:
  // `roots` outlives this, and so does what `openers` refers to.
  BackingNames(Roots& roots, ChainOpeners openers) : roots_(roots), openers_(openers) {}

  // kStale unless `name` in the header of an image at `overlay` leads to the file `id`.
  static Status Check(const FileLocation& overlay, std::string_view name, const FileId& id);
  // How the header of an image at `overlay` should name the file `id` at `backing`.
  Result<BackingReference> For(const FileLocation& overlay, const FileLocation& backing,
                               const FileId& id, ImageFormat format);
  // The same of two layers of the chain of `entry`, in the words of its own headers.
  Result<BackingReference> Between(const CatalogEntry& entry, const Layer& overlay,
                                   const Layer& backing);

 private:
  // The name of `backing`, the file `id`, for the header of an image at `overlay`: its file name
  // beside it, else the first of `names` that leads there, else its path.
  Result<BackingReference> Choose(const FileLocation& overlay,
                                  const std::vector<std::string>& names,
                                  const FileLocation& backing, const FileId& id,
                                  ImageFormat format);

  Roots& roots_;
  const ChainOpeners openers_;
};

}  // namespace chainfs
