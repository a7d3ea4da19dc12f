// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/layers.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"

namespace chainfs::chainctl {

using nlohmann::json;

std::vector<LayerFacts> LayersFromJson(const json& value) {
  std::vector<LayerFacts> layers;
  for (const json& entry : ArrayOf(value, "layers")) {
    LayerFacts facts{.path = TextOf(entry, "path"),
                     .format = TextOf(entry, "format"),
                     .actual_size = NumberOf(entry, "actual-size"),
                     .built_on_by = TextsOf(entry, "built-on-by"),
                     .needed = FlagOf(entry, "needed"),
                     .reason = TextOf(entry, "reason")};
    layers.push_back(std::move(facts));
  }
  return layers;
}

std::vector<LayerFacts> LayersFromChains(const json& value) {
  std::map<std::string, LayerFacts> by_path;
  for (const json& chain : ArrayOf(value, "chains")) {
    std::string above;
    for (const json& layer : ArrayOf(chain, "layers")) {
      std::string path = TextOf(layer, "filename");
      LayerFacts& facts = by_path[path];
      facts.path = path;
      facts.format = TextOf(layer, "format");
      facts.actual_size = NumberOf(layer, "actual-size");
      if (above.empty()) {
        facts.reason = "active layer of " + TextOf(chain, "name");
      } else if (std::ranges::find(facts.built_on_by, above) == facts.built_on_by.end()) {
        facts.built_on_by.push_back(above);
      }
      above = std::move(path);
    }
  }
  std::vector<LayerFacts> layers;
  layers.reserve(by_path.size());
  for (auto& [path, facts] : by_path) {
    if (!facts.built_on_by.empty()) facts.reason.clear();  // that is reason enough
    layers.push_back(std::move(facts));
  }
  return layers;
}

Result<std::vector<LayerFacts>> ReadLayers(const std::string& mount) {
  const Result<json> told = ReadJsonFile(mount, "layers.json");
  if (told) return LayersFromJson(*told);
  if (told.error().sys_errno != ENOENT) return std::unexpected(told.error());
  CHAINFS_ASSIGN(const json chains, ReadJsonFile(mount, "chains.json"));
  return LayersFromChains(chains);
}

json LayersToJson(const std::vector<LayerFacts>& layers) {
  json all = json::array();
  for (const LayerFacts& layer : layers) {
    all.push_back({{"path", layer.path},
                   {"format", layer.format},
                   {"actual-size", layer.actual_size},
                   {"built-on-by", layer.built_on_by},
                   {"needed", layer.needed},
                   {"reason", layer.reason}});
  }
  return all;
}

}  // namespace chainfs::chainctl
