// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/snapshot_command.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <optional>

namespace chainfs::qmp {
namespace {

constexpr std::array<std::string_view, 2> kModes = {"existing", "absolute-paths"};

QmpStatus CheckFormat(const std::string& format) {
  if (format == "qcow2") return {};
  if (format == "raw") return Refuse("Backing file not supported for file format 'raw'");
  return Refuse(fmt::format("Unknown file format '{}'", format));
}

// The layer above `layer`; none when it is active.
LayerPtr Above(const Disk& disk, const Layer& layer) {
  LayerPtr above;
  for (const LayerPtr& each : disk.chain()->AllLayers()) {
    if (each.get() == &layer) return above;
    above = each;
  }
  return nullptr;
}

QmpStatus CheckActive(Client& client, const NamedNode& node) {
  if (node.active) return {};
  const std::string name = client.nodes.NameOf(node.layer);
  const LayerPtr above = Above(*node.disk, *node.layer);
  return Refuse(fmt::format("Node '{}' is busy: node is used as backing hd of '{}'", name,
                            above ? client.nodes.NameOf(above) : node.disk->name()));
}

QmpStatus CheckOverlayName(Client& client, const std::optional<std::string>& name, bool required) {
  if (!name) {
    if (required) return Refuse("New overlay node-name missing");
    return {};
  }
  QmpStatus legal = client.nodes.CheckNewName(*name);
  if (!legal && legal.error().description.starts_with("Duplicate")) {
    return Refuse("New overlay node-name already in use");
  }
  return legal;
}

}  // namespace

// Another snapshot may have been made meanwhile, so it is looked for by its file.
void SnapshotOrder::NameOverlay(Client& client) const {
  if (!overlay_name) return;
  Result<LayerPtr> overlay = client.catalog.FindLayer(*disk, file);
  if (!overlay) overlay = client.catalog.FindLayer(*disk, file.substr(file.rfind('/') + 1));
  if (overlay) client.nodes.NameLayer(*overlay, *overlay_name);
}

std::expected<SnapshotOrder, QmpError> TakeSnapshotOrder(Client& client, Parameters& parameters) {
  const std::optional<std::string> device = parameters.OptionalText("device");
  const std::optional<std::string> node_name = parameters.OptionalText("node-name");
  SnapshotOrder order;
  order.file = parameters.Text("snapshot-file");
  order.overlay_name = parameters.OptionalText("snapshot-node-name");
  const std::string format = parameters.OptionalText("format").value_or("qcow2");
  const std::string mode = parameters.OptionalWord("mode", kModes).value_or("absolute-paths");
  CHAINFS_TRY(parameters.Finish());
  if (order.file.empty()) return Refuse("Parameter 'snapshot-file' is empty");
  CHAINFS_ASSIGN(const NamedNode node, client.nodes.DeviceOrNode(device, node_name));
  CHAINFS_TRY(CheckActive(client, node));
  CHAINFS_TRY(CheckFormat(format));
  CHAINFS_TRY(CheckOverlayName(client, order.overlay_name, !device && node_name));
  order.disk = node.disk;
  order.arguments.Set("target", order.file);
  if (mode == "existing") order.arguments.Set("existing", "yes");
  // A device is whatever is active; a node is that layer, or nothing happens.
  if (!device) order.arguments.Set("generation", std::to_string(node.generation));
  return order;
}

Answer BlockdevSnapshotSync(Client& client, Parameters& parameters) {
  CHAINFS_ASSIGN(const SnapshotOrder order, TakeSnapshotOrder(client, parameters));
  CHAINFS_TRY(client.Order("snapshot", order.arguments, order.disk));
  order.NameOverlay(client);
  return nlohmann::ordered_json::object();
}

Answer BlockdevSnapshot(Client& client, Parameters& parameters) {
  const std::string node_name = parameters.Text("node");
  const std::string overlay = parameters.Text("overlay");
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_ASSIGN(const NamedNode node, client.nodes.Device(node_name));
  CHAINFS_ASSIGN(const TargetNode target, client.nodes.Target(overlay));
  CHAINFS_TRY(CheckActive(client, node));
  CHAINFS_TRY(CheckFormat(target.format));
  SnapshotOrder order{
      .disk = node.disk, .arguments = {}, .file = target.path, .overlay_name = overlay};
  order.arguments.Set("target", target.path)
      .Set("existing", "yes")
      .Set("generation", std::to_string(node.generation));
  CHAINFS_TRY(client.Order("snapshot", order.arguments, order.disk));
  // The name goes from the file to the layer that it is now.
  (void)client.nodes.RemoveTarget(overlay);
  order.NameOverlay(client);
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
