// SPDX-License-Identifier: Apache-2.0
//
// The layers of a mount and who is built on them: from MNT/.chainfs/layers.json, or, where an older
// daemon has no such file, from its chains.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "blocklayer/base/result.h"

namespace chainfs::chainctl {

struct LayerFacts {
  std::string path;
  std::string format;
  uint64_t actual_size = 0;              // bytes that its file occupies
  std::vector<std::string> built_on_by;  // direct overlays
  bool needed = true;  // may not be deleted; false only where the daemon knows better
  std::string reason;  // for people
};

// The value of layers.json.
std::vector<LayerFacts> LayersFromJson(const nlohmann::json& value);
// The same from chains.json: nothing is known to be unneeded.
std::vector<LayerFacts> LayersFromChains(const nlohmann::json& value);
Result<std::vector<LayerFacts>> ReadLayers(const std::string& mount);
nlohmann::json LayersToJson(const std::vector<LayerFacts>& layers);

}  // namespace chainfs::chainctl
