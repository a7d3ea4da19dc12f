// SPDX-License-Identifier: Apache-2.0
//
// DataFiles: external data files of images: only from directories that the user has named for them,
// whatever a header says. A name is a path and nothing else ("json:..." and "nbd:..." are files
// that are called so), relative to the directory of the image, and is walked as that of a backing
// file (roots.h). What is not permitted is not opened.
//
// Threads: all methods need CatalogParts::mu.
#pragma once

#include <memory>
#include <string>

#include "blocklayer/catalog/roots.h"

namespace chainfs {

class DataFiles {
 public:
  // `open`: as for Roots.
  explicit DataFiles(OpenDirectoryFunction open) : roots_(std::move(open)) {}

  void KeepOff(dev_t served) { roots_.KeepOff(served); }
  // Data files may lie in this directory, and beneath it.
  Status Permit(const std::string& directory);
  // The place of the data file that `image` names; kAccess where it is not permitted, with the
  // cure.
  Result<FileLocation> Locate(const FileLocation& image, const std::string& name);

 private:
  Roots roots_;
  bool any_ = false;
};

}  // namespace chainfs
