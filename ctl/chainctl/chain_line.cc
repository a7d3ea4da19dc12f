// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/chain_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

// So many at each end.
constexpr size_t kNamedLayers = 4;

std::string InBrackets(const std::string& path) {
  return "[" + SafeText(path.substr(path.rfind('/') + 1)) + "]";
}

}  // namespace

std::string ChainLine(const std::vector<std::string>& layers) {
  std::string line;
  const size_t count = layers.size();
  for (size_t i = 0; i < count; ++i) {
    if (!line.empty()) line += " <- ";
    if (count > 2 * kNamedLayers + 1 && i == kNamedLayers) {
      const size_t more = count - 2 * kNamedLayers;
      line += fmt::format("({} more)", more);
      i += more - 1;
    } else {
      line += InBrackets(layers[count - 1 - i]);
    }
  }
  return line;
}

Result<std::vector<std::string>> ReadLayers(const DiskPath& disk) {
  CHAINFS_ASSIGN(const nlohmann::json chain, ReadJsonAttribute(disk.path, "chain"));
  std::vector<std::string> layers;
  for (const nlohmann::json& layer : chain) {
    if (std::string path = TextOf(layer, "filename"); !path.empty()) {
      layers.push_back(std::move(path));
    }
  }
  return layers;
}

}  // namespace chainfs::chainctl
