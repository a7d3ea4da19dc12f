// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/stream_command.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "ctl/qmp/job_parameters.h"

namespace chainfs::qmp {
namespace {

// How the layer that stays below is named: by at most one of the three.
struct BaseNames {
  std::optional<std::string> file;
  std::optional<std::string> node;
  std::optional<std::string> bottom;  // the one above it
};

QmpStatus CheckOneName(const BaseNames& names) {
  if (names.file && names.node) {
    return Refuse("'base' and 'base-node' cannot be specified at the same time");
  }
  if (names.bottom && (names.file || names.node)) {
    return Refuse(fmt::format("'bottom' and '{}' cannot be specified at the same time",
                              names.file ? "base" : "base-node"));
  }
  return {};
}

// Null: all below `top` is merged.
std::expected<LayerPtr, QmpError> FindBase(Client& client, const NamedNode& top,
                                           const std::string& device, const BaseNames& names) {
  const Layers layers = top.disk->chain()->AllLayers();
  if (names.file) return FileInChain(client, top, *names.file);
  if (!names.node && !names.bottom) return nullptr;
  const std::string& name = names.node ? *names.node : *names.bottom;
  CHAINFS_ASSIGN(LayerPtr named, client.nodes.LayerOf(*top.disk, name));
  CHAINFS_ASSIGN(const size_t top_at, PositionIn(layers, *top.layer));
  CHAINFS_ASSIGN(const size_t at, PositionIn(layers, *named));
  if (names.node) {
    if (at > top_at) return named;
    return Refuse(fmt::format("Node '{}' is not a backing image of '{}'", name, device));
  }
  if (at < top_at)
    return Refuse(fmt::format("Node '{}' is not in the chain of '{}'", name, device));
  return at + 1 < layers.size() ? layers[at + 1] : nullptr;
}

}  // namespace

Answer BlockStream(Client& client, Parameters& parameters) {
  const std::optional<std::string> id = parameters.OptionalText("job-id");
  const std::string device = parameters.Text("device");
  const BaseNames names = {.file = parameters.OptionalText("base"),
                           .node = parameters.OptionalText("base-node"),
                           .bottom = parameters.OptionalText("bottom")};
  const std::optional<std::string> backing_file = parameters.OptionalText("backing-file");
  const JobParameters job = TakeJobParameters(parameters);
  CHAINFS_TRY(parameters.Finish());
  CHAINFS_TRY(CheckOneName(names));
  CHAINFS_ASSIGN(const NamedNode top, client.nodes.Device(device));
  CHAINFS_ASSIGN(const LayerPtr base, FindBase(client, top, device, names));
  CHAINFS_TRY(CheckBackingFile(backing_file, base));
  verbs::Arguments arguments;
  if (!top.active) arguments.Set("top", top.layer->path);
  if (base != nullptr) arguments.Set("base", base->path);
  CHAINFS_TRY(job.AddTo(arguments));
  CHAINFS_TRY(StartJob(client, {.verb = "stream",
                                .disk = top.disk,
                                .arguments = std::move(arguments),
                                .choice = job.Choice(id, top)}));
  return nlohmann::ordered_json::object();
}

}  // namespace chainfs::qmp
