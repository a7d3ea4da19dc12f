// SPDX-License-Identifier: Apache-2.0
//
// The report of every image in view and every layer below one, and of who needs each.
//
// Threads: CatalogParts::mu.
#pragma once

#include <vector>

#include "blocklayer/catalog/layer_needs.h"
#include "blocklayer/catalog/layer_roles.h"

namespace chainfs {

// Sorted by path.
std::vector<LayerReport> ReportLayers(ChainSet& chains, LayerRoles& roles,
                                      const LeftOutMarks& marks, LayerNeeds& needs);

}  // namespace chainfs
