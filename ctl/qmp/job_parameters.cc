// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/job_parameters.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace chainfs::qmp {
namespace {

constexpr std::array<std::string_view, 4> kOnError = {"report", "ignore", "enospc", "stop"};

std::string LastComponent(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

QmpStatus JobParameters::AddTo(verbs::Arguments& arguments) const {
  if (!auto_finalize) {
    return Refuse("'auto-finalize' cannot be false: jobs of chainfs finalize themselves");
  }
  if (speed && *speed < 0) return Refuse("Parameter 'speed' expects a non-negative value");
  if (speed) arguments.Set("speed", std::to_string(*speed));
  arguments.SetIf("on-error", on_error);
  return {};
}

JobChoice JobParameters::Choice(const std::optional<std::string>& id,
                                const NamedNode& device) const {
  return {.id = id ? *id : device.active ? device.disk->name() : "", .auto_dismiss = auto_dismiss};
}

JobParameters TakeJobParameters(Parameters& parameters) {
  JobParameters job;
  job.speed = parameters.OptionalInteger("speed");
  job.on_error = parameters.OptionalWord("on-error", kOnError);
  parameters.Ignore("filter-node-name");
  job.auto_finalize = parameters.Switch("auto-finalize", true);
  job.auto_dismiss = parameters.Switch("auto-dismiss", true);
  return job;
}

std::expected<size_t, QmpError> PositionIn(const Layers& layers, const Layer& layer) {
  const auto found = std::ranges::find(layers, &layer, &LayerPtr::get);
  if (found != layers.end()) return static_cast<size_t>(found - layers.begin());
  return Refuse(fmt::format("'{}' is not in this backing file chain", layer.path));
}

std::expected<LayerPtr, QmpError> FileInChain(Client& client, const NamedNode& top,
                                              const std::string& name) {
  const auto missing = [&] {
    return Refuse(fmt::format("Can't find '{}' in the backing chain", name));
  };
  const Result<LayerPtr> layer = client.catalog.FindLayer(*top.disk, name);
  if (!layer) return missing();
  const Layers layers = top.disk->chain()->AllLayers();
  CHAINFS_ASSIGN(const size_t top_at, PositionIn(layers, *top.layer));
  CHAINFS_ASSIGN(const size_t at, PositionIn(layers, **layer));
  if (at <= top_at) return missing();
  return *layer;
}

QmpStatus CheckBackingFile(const std::optional<std::string>& name, const LayerPtr& base) {
  if (!name) return {};
  if (base == nullptr) {
    return Refuse("backing file specified, but streaming the entire chain");
  }
  if (LastComponent(*name) == base->name) return {};
  return Refuse(fmt::format(
      "'backing-file' is '{}', but the layer below will be {}; chainfs writes its name itself",
      *name, base->path));
}

}  // namespace chainfs::qmp
