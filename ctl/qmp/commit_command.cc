// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/commit_command.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "ctl/qmp/job_parameters.h"

namespace chainfs::qmp {
namespace {

// A layer by its file, or by its node.
struct LayerNames {
  std::optional<std::string> file;
  std::optional<std::string> node;
};

LayerNames TakeNames(Parameters& parameters, const std::string& what) {
  return {.file = parameters.OptionalText(what), .node = parameters.OptionalText(what + "-node")};
}

QmpStatus CheckOneName(const LayerNames& names, const std::string& what) {
  if (!names.file || !names.node) return {};
  return Refuse(fmt::format("'{}-node' and '{}' are mutually exclusive", what, what));
}

std::expected<LayerPtr, QmpError> FindTop(Client& client, const NamedNode& root,
                                          const LayerNames& names) {
  if (names.node) return client.nodes.LayerOf(*root.disk, *names.node);
  if (!names.file) return root.layer;
  const Result<LayerPtr> layer = client.catalog.FindLayer(*root.disk, *names.file);
  if (layer) return *layer;
  return Refuse(fmt::format("Top image file {} not found", *names.file));
}

std::expected<LayerPtr, QmpError> FindBase(Client& client, const NamedNode& top,
                                           const LayerNames& names) {
  if (names.file) return FileInChain(client, top, *names.file);
  const Layers layers = top.disk->chain()->AllLayers();
  if (!names.node) return layers.back();
  CHAINFS_ASSIGN(LayerPtr base, client.nodes.LayerOf(*top.disk, *names.node));
  CHAINFS_ASSIGN(const size_t top_at, PositionIn(layers, *top.layer));
  CHAINFS_ASSIGN(const size_t base_at, PositionIn(layers, *base));
  if (base_at >= top_at) return base;
  return Refuse(fmt::format("'{}' is not in this backing file chain", *names.node));
}

}  // namespace

Answer BlockCommit(Client& client, Parameters& parameters) {
  const std::optional<std::string> id = parameters.OptionalText("job-id");
  const std::string device = parameters.Text("device");
  const LayerNames base_names = TakeNames(parameters, "base");
  const LayerNames top_names = TakeNames(parameters, "top");
  const std::optional<std::string> backing_file = parameters.OptionalText("backing-file");
  const JobParameters job = TakeJobParameters(parameters);
  CHAINFS_TRY(parameters.Finish());
  // Programs look for this class first.
  const std::expected<NamedNode, QmpError> found = client.nodes.Device(device);
  if (!found) return Refuse(fmt::format("Device '{}' not found", device), kDeviceNotFound);
  if (!found->active) return Refuse("Need a root block node");
  CHAINFS_TRY(CheckOneName(top_names, "top"));
  CHAINFS_TRY(CheckOneName(base_names, "base"));
  NamedNode top = *found;
  CHAINFS_ASSIGN(top.layer, FindTop(client, *found, top_names));
  CHAINFS_ASSIGN(const LayerPtr base, FindBase(client, top, base_names));
  if (base == top.layer) return Refuse("cannot commit an image into itself");
  verbs::Arguments arguments;
  arguments.Set("base", base->path);
  if (top.layer == found->layer) {
    if (backing_file) {
      return Refuse("'backing-file' specified, but 'top' is the active layer");
    }
    arguments.Set("then", "hold");
  } else {
    CHAINFS_TRY(CheckBackingFile(backing_file, base));
    arguments.Set("top", top.layer->path);
  }
  CHAINFS_TRY(job.AddTo(arguments));
  CHAINFS_TRY(StartJob(client, {.verb = "commit",
                                .disk = top.disk,
                                .arguments = std::move(arguments),
                                .choice = job.Choice(id, *found)}));
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
