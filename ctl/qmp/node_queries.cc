// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/node_queries.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <utility>

namespace chainfs::qmp {
namespace {

using Json = nlohmann::ordered_json;
using LayerSpan = std::span<const LayerPtr>;

std::string FormatOf(const Layer& layer) { return std::string(layer.image->format().name()); }

// The first of `layers`, and what is below it to that many levels.
Json ImageJson(LayerSpan layers, size_t nested) {
  const Layer& layer = *layers.front();
  Json image = {{"virtual-size", layer.image->virtual_size()},
                {"filename", layer.path},
                {"format", FormatOf(layer)},
                {"dirty-flag", false}};
  if (const Result<uint64_t> bytes = layer.image->AllocatedBytes()) image["actual-size"] = *bytes;
  if (layer.image->format() != ImageFormat::kRaw) {
    image["cluster-size"] = layer.image->cluster_size();
  }
  if (const auto backing = layer.image->backing()) {
    image["backing-filename"] = backing->name;
    if (backing->format) image["backing-filename-format"] = *backing->format;
  }
  if (layers.size() > 1) {
    image["full-backing-filename"] = layers[1]->path;
    if (nested > 0) image["backing-image"] = ImageJson(layers.subspan(1), nested - 1);
  }
  return image;
}

Json NodeJson(Client& client, LayerSpan layers, bool read_only, size_t nested) {
  const Layer& layer = *layers.front();
  Json node = {{"node-name", client.nodes.NameOf(layers.front())},
               {"drv", FormatOf(layer)},
               {"file", layer.path},
               {"ro", read_only},
               {"encrypted", false},
               {"detect_zeroes", "off"},
               {"backing_file_depth", layers.size() - 1}};
  if (layers.size() > 1) node["backing_file"] = layers[1]->path;
  for (const char* const limit : {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"}) {
    node[limit] = 0;
  }
  node["write_threshold"] = 0;
  node["cache"] = {{"writeback", true}, {"direct", false}, {"no-flush", false}};
  node["image"] = ImageJson(layers, nested);
  return node;
}

Json TargetJson(const std::string& name, const TargetNode& target) {
  return {{"node-name", name},  {"drv", target.format},   {"file", target.path},    {"ro", false},
          {"encrypted", false}, {"detect_zeroes", "off"}, {"backing_file_depth", 0}};
}

}  // namespace

Answer QueryNamedBlockNodes(Client& client, Parameters& parameters) {
  const bool flat = parameters.Switch("flat", false);
  CHAINFS_TRY(parameters.Finish());
  Json nodes = Json::array();
  std::set<const Layer*> shown;
  std::vector<ChainPtr> chains;  // keep what `shown` points to
  for (const DiskPtr& disk : client.catalog.Disks()) {
    chains.push_back(disk->chain());
    const Layers layers = chains.back()->AllLayers();
    for (size_t i = 0; i < layers.size(); ++i) {
      if (!shown.insert(layers[i].get()).second) continue;
      const bool read_only = i > 0 || disk->read_only();
      nodes.push_back(
          NodeJson(client, LayerSpan(layers).subspan(i), read_only, flat ? 0 : kMaxNested));
    }
  }
  for (const auto& [name, target] : client.nodes.Targets()) {
    nodes.push_back(TargetJson(name, target));
  }
  return nodes;
}

Answer QueryBlock(Client& client, Parameters& parameters) {
  CHAINFS_TRY(parameters.Finish());
  Json devices = Json::array();
  for (const DiskPtr& disk : client.catalog.Disks()) {
    const Layers layers = disk->chain()->AllLayers();
    devices.push_back({{"device", disk->name()},
                       {"type", "unknown"},
                       {"locked", false},
                       {"removable", false},
                       {"io-status", disk->failed() ? "failed" : "ok"},
                       {"inserted", NodeJson(client, layers, disk->read_only(), kMaxNested)}});
  }
  return devices;
}

}  // namespace chainfs::qmp
