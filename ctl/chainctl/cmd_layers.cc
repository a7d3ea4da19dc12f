// SPDX-License-Identifier: Apache-2.0
//
// layers: every layer, who is built on it directly, and what may be deleted. revert: a disk goes
// back to an older layer.
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/command_value.h"
#include "ctl/chainctl/commands.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/layers.h"
#include "ctl/chainctl/mounts.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;
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

// The layers above `layer`, which a revert drops; top first.
Result<std::vector<std::string>> LayersAbove(const DiskPath& disk, const std::string& layer) {
  CHAINFS_ASSIGN(const json chain, ReadJsonAttribute(disk.path, "chain"));
  std::vector<std::string> above;
  for (const json& entry : chain) {
    std::string path = TextOf(entry, "filename");
    if (path == layer || BaseName(path) == layer) return above;
    above.push_back(std::move(path));
  }
  return FailMounted(ENOENT, fmt::format("{}: no layer of this disk is called {}; `chainctl chain "
                                         "{}` shows them",
                                         disk.shown, layer, disk.shown));
}

// The kernel forgets what it knew of the disk, and of those that the dropped layers had, in its own
// time. Who opens it next is to find the right size, and that it can be written.
Result<json> WaitUntilUsable(const DiskPath& disk) {
  constexpr int kTries = 40;
  for (int i = 1;; ++i) {
    CHAINFS_ASSIGN(json info, ReadJsonAttribute(disk.path, "info"));
    struct stat st = {};
    const bool shown = ::stat(disk.path.c_str(), &st) == 0 &&
                       static_cast<uint64_t>(st.st_size) == NumberOf(info, "virtual-size");
    if ((shown && !FlagOf(info, "read-only")) || i == kTries) return info;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

bool Agreed(const DiskPath& disk, const std::vector<std::string>& dropped) {
  fmt::print(stderr, "{}: what was written since is lost; these layers are dropped:\n", disk.shown);
  for (const std::string& path : dropped) fmt::print(stderr, "  {}\n", SafeText(path));
  fmt::print(stderr, "Go on? [y/N] ");
  std::fflush(stderr);
  std::array<char, 64> line = {};
  if (std::fgets(line.data(), static_cast<int>(line.size()), stdin) == nullptr) return false;
  const std::string answer = line.data();
  return answer == "y\n" || answer == "Y\n" || answer == "yes\n";
}

}  // namespace

Result<ExitCode> RunLayers(const LayersOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::vector<LayerFacts> layers, CollectLayers(options.place));
  Print(common.json ? OneLine({{"layers", LayersToJson(layers)}}) + "\n"
                    : LayersText(layers, Painter::For(stdout)));
  return ExitCode::kDone;
}

Result<ExitCode> RunRevert(const RevertOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const std::vector<std::string> dropped, LayersAbove(disk, options.layer));
  if (dropped.empty()) {
    return FailMounted(
        EINVAL, fmt::format("{}: {} is the active layer already", disk.shown, options.layer));
  }
  CHAINFS_ASSIGN(const json before, ReadJsonAttribute(disk.path, "info"));
  if (!options.yes) {
    if (isatty(STDIN_FILENO) != 1) {
      return Fail(
          ErrorKind::kInvalidArgument,
          fmt::format("{}: a revert drops {} of the disk for good; confirm with --yes", disk.shown,
                      dropped.size() == 1 ? std::string("the newest layer")
                                          : fmt::format("{} layers", dropped.size())));
    }
    if (!Agreed(disk, dropped)) {
      Note("revert: nothing was done");
      return ExitCode::kCancelled;
    }
  }
  // The generation: nobody agreed to drop a layer that has come meanwhile.
  CommandValue value;
  value.Add("to", options.layer)
      .Add("yes", "yes")
      .Add("generation", std::to_string(NumberOf(before, "generation")));
  CHAINFS_TRY(Send(disk, {.verb = "revert", .value = value.text(), .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")},
                   {"active", TextOf(after, "active")},
                   {"dropped", dropped},
                   {"generation", NumberOf(after, "generation")}}) +
          "\n");
  } else if (!common.quiet) {
    Print(
        fmt::format("{}: active layer is now {}\n", disk.shown, SafeText(TextOf(after, "active"))));
  }
  return ExitCode::kDone;
}

Result<ExitCode> RunThaw(const std::string& path, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(path));
  CHAINFS_TRY(Send(disk, {.verb = "thaw", .value = "", .verbose = common.verbose}));
  CHAINFS_ASSIGN(const json after, WaitUntilUsable(disk));
  if (common.json) {
    Print(OneLine({{"disk", TextOf(after, "name")}, {"read-only", FlagOf(after, "read-only")}}) +
          "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: can be written\n", disk.shown));
  }
  return ExitCode::kDone;
}

}  // namespace chainfs::chainctl
