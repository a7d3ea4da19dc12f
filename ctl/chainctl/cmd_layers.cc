// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_layers.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/layers.h"
#include "ctl/chainctl/mounts.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using Align = Table::Align;

// "vm1.qcow2, vm2.qcow2" or "17 images".
std::string OverlaysText(const std::vector<std::string>& overlays) {
  constexpr size_t kMostNamed = 3;
  if (overlays.size() > kMostNamed) return fmt::format("{} images", overlays.size());
  std::string text;
  for (const std::string& overlay : overlays) {
    text += (text.empty() ? "" : ", ") + SafeText(BaseName(overlay));
  }
  return text.empty() ? "-" : text;
}

std::string LayersText(const std::vector<LayerFacts>& layers, const Painter& painter) {
  Table table;
  table.AddColumn("LAYER")
      .AddColumn("FORMAT")
      .AddColumn("OWN SIZE", Align::kRight)
      .AddColumn("BUILT ON IT")
      .AddColumn("NEEDED")
      .AddColumn("WHY");
  std::string unneeded;
  uint64_t bytes = 0;
  for (const LayerFacts& layer : layers) {
    table.AddRow(
        {SafeText(layer.path), SafeText(layer.format), FormatSize(layer.actual_size),
         OverlaysText(layer.built_on_by),
         Table::Cell(layer.needed ? "yes" : "no", layer.needed ? Colour::kNone : Colour::kYellow),
         SafeText(layer.reason)});
    if (layer.needed) continue;
    unneeded += fmt::format("  {}\n", SafeText(layer.path));
    bytes += layer.actual_size;
  }
  if (table.empty()) return "no layers\n";
  std::string text = table.Render(painter);
  if (!unneeded.empty()) {
    text += fmt::format("may be deleted ({}):\n{}", FormatSize(bytes), unneeded);
  }
  return text;
}

bool LiesIn(const std::string& path, const std::string& directory) {
  return path.starts_with(directory == "/" ? "/" : directory + "/");
}

// Of all mounts the layers that lie in a directory which is no mount itself.
Result<std::vector<LayerFacts>> LayersOfDirectory(const std::string& given) {
  std::error_code failed;
  const std::filesystem::path real = std::filesystem::canonical(given, failed);
  if (failed) {
    return FailMounted(failed.value(), fmt::format("{}: {}", given, failed.message()));
  }
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, ChainfsMounts());
  std::vector<LayerFacts> found;
  for (const std::string& mount : mounts) {
    const Result<std::vector<LayerFacts>> layers = ReadLayers(mount);
    if (!layers) continue;
    for (const LayerFacts& layer : *layers) {
      if (!LiesIn(layer.path, real.string())) continue;
      const auto known = std::ranges::find(found, layer.path, &LayerFacts::path);
      if (known == found.end()) {
        found.push_back(layer);
        continue;
      }
      // What one mount does not need another one may.
      if (layer.needed && !known->needed) known->reason = layer.reason;
      known->needed = known->needed || layer.needed;
      for (const std::string& overlay : layer.built_on_by) {
        std::vector<std::string>& overlays = known->built_on_by;
        if (std::ranges::find(overlays, overlay) == overlays.end()) overlays.push_back(overlay);
      }
    }
  }
  if (!found.empty()) return found;
  return FailMounted(ENODATA,
                     fmt::format("{}: no mount that you may look into shows images of this "
                                 "directory; mount it, then ask again",
                                 given));
}

Result<std::vector<LayerFacts>> CollectLayers(const std::optional<std::string>& place) {
  if (place) {
    const Result<std::string> mount = FindMount(*place);
    if (mount) return ReadLayers(*mount);
    if (mount.error().sys_errno != ENODATA) return std::unexpected(mount.error());
    return LayersOfDirectory(*place);
  }
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, ChainfsMounts());
  std::vector<LayerFacts> all;
  for (const std::string& mount : mounts) {
    Result<std::vector<LayerFacts>> layers = ReadLayers(mount);
    if (!layers) {
      if (mounts.size() == 1) return layers;
      if (!IsOutOfSight(layers.error())) Note("layers: " + layers.error().message);
      continue;
    }
    std::ranges::move(*layers, std::back_inserter(all));
  }
  return all;
}

Result<ExitCode> ListLayers(const std::optional<std::string>& place, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::vector<LayerFacts> layers, CollectLayers(place));
  Print(common.json ? OneLine({{"layers", LayersToJson(layers)}}) + "\n"
                    : LayersText(layers, Painter::For(stdout)));
  return ExitCode::kDone;
}

}  // namespace

VerbRow LayersVerb() {
  return {.name = "layers",
          .help = "List the layers: who is built on them, what may be deleted",
          .examples =
              "chainctl layers /mnt/images\n"
              "chainctl layers /srv/images\n",
          .sends = false,
          .remarks = false,
          .declare = [](CLI::App& verb) -> Action {
            auto place = std::make_shared<std::optional<std::string>>();
            verb.add_option("MNT", *place,
                            "Mount point, or directory of images (default: all mounts)")
                ->type_name("[MNT|DIR]");
            return [place](const CommonOptions& common) { return ListLayers(*place, common); };
          }};
}

}  // namespace chainfs::chainctl
