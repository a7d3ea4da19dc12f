// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/resize_command.h"

#include <nlohmann/json.hpp>
#include <optional>

namespace chainfs::qmp {
namespace {

constexpr int64_t kSector = 512;

}  // namespace

Answer BlockResize(Client& client, Parameters& parameters) {
  const std::optional<std::string> device = parameters.OptionalText("device");
  const std::optional<std::string> node_name = parameters.OptionalText("node-name");
  const int64_t size = parameters.Integer("size");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const NamedNode node, client.nodes.DeviceOrNode(device, node_name));
  if (size < 0) return Refuse("Parameter 'size' expects a >0 size");
  if (!node.active) return Refuse("Device is in use: others are built on that layer");
  if (size % kSector != 0) return Refuse("The new size must be a multiple of 512");
  CHAINFS_TRY(
      client.Order("resize", verbs::Arguments().Set("size", std::to_string(size)), node.disk));
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
