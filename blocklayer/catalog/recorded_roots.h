// SPDX-License-Identifier: Apache-2.0
//
// What the records of the sources say before any image is looked at.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/catalog/catalog_types.h"

namespace chainfs {

// The directories outside the sources where trusted records have files of their chains (extra
// roots, roots.h): whoever confines itself before the catalog opens must let these in. Records and
// sources that cannot be read have none; the catalog says so later.
std::vector<std::string> RecordedRoots(const std::vector<SourceSpec>& specs,
                                       const CatalogOptions& options);

}  // namespace chainfs
