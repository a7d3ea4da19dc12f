// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_map.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/picture.h"
#include "ctl/chainctl/picture_svg.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

struct MapOptions {
  std::string disk;
  std::optional<std::string> svg;  // a file name, "-" for stdout
  PictureStyle style = PictureStyle::kAuto;
  std::optional<size_t> width;
};

// Names of the layers, active first. The attribute is cut for very deep chains; then the file with
// all chains has them.
Result<std::vector<std::string>> LayerNames(const DiskPath& disk, const std::string& name,
                                            uint64_t depth) {
  CHAINFS_ASSIGN(json chain, ReadJsonAttribute(disk.path, "chain"));
  if (chain.size() < depth || (!chain.empty() && FlagOf(chain.back(), "truncated"))) {
    if (const Result<json> all = ReadJsonFile(disk.mount, "chains.json")) {
      for (const json& entry : ArrayOf(*all, "chains")) {
        if (TextOf(entry, "name") == name) chain = ArrayOf(entry, "layers");
      }
    }
  }
  std::vector<std::string> names;
  for (const json& layer : chain) {
    if (std::string file = TextOf(layer, "filename"); !file.empty()) {
      names.push_back(std::move(file));
    }
  }
  return names;
}

Status WriteFile(const std::string& path, const std::string& text) {
  if (path == "-") {
    Print(text);
    return {};
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    return FailMounted(errno, fmt::format("{}: {}", path, std::strerror(errno)));
  }
  return {};
}

Result<ExitCode> DrawMap(const MapOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath disk, FindDisk(options.disk));
  CHAINFS_ASSIGN(const json info, ReadJsonAttribute(disk.path, "info"));
  const std::string name = TextOf(info, "name");
  const std::string file = "map/" + name + ".json";
  CHAINFS_ASSIGN(const std::string text, ReadVirtualFile(disk.mount, file));
  if (common.json) {
    CHAINFS_ASSIGN(const json value, ParseJson(text, disk.mount + "/.chainfs/" + file));
    Print(OneLine(value) + "\n");
    return ExitCode::kDone;
  }
  DiskMap map{.name = name, .size = NumberOf(info, "virtual-size"), .layers = {}, .extents = {}};
  CHAINFS_ASSIGN(map.layers, LayerNames(disk, name, NumberOf(info, "depth")));
  CHAINFS_ASSIGN(map.extents, ParseMap(text, disk.mount + "/.chainfs/" + file));
  if (options.svg) {
    CHAINFS_TRY(WriteFile(*options.svg, DrawSvg(map)));
    return ExitCode::kDone;
  }
  Print(DrawPicture(map, {.style = options.style,
                          .width = options.width.value_or(TerminalWidth(stdout)),
                          .utf8 = Utf8Locale(),
                          .painter = Painter::For(stdout)}));
  return ExitCode::kDone;
}

}  // namespace

VerbRow MapVerb() {
  return {
      .name = "map",
      .help = "Draw which layer serves which part of a disk",
      .examples =
          "chainctl map vm1.raw\n"
          "chainctl map --svg vm1.svg vm1.raw\n",
      .sends = false,
      .remarks = false,
      .declare = [](CLI::App& verb) -> Action {
        auto options = std::make_shared<MapOptions>();
        AddDisk(verb, options->disk);
        verb.add_option("--svg", options->svg, "Write a drawing to FILE (-: to stdout)")
            ->type_name("FILE");
        verb.add_option("--width", options->width, "Width in characters (default: the terminal's)")
            ->type_name("N")
            ->check(CLI::Range(20, 10000));
        verb.add_flag_callback(
            "--lanes", [options] { options->style = PictureStyle::kLanes; }, "One line per layer");
        verb.add_flag_callback(
            "--bar", [options] { options->style = PictureStyle::kBar; },
            "One bar, one letter per layer");
        return [options](const CommonOptions& common) { return DrawMap(*options, common); };
      }};
}

}  // namespace chainfs::chainctl
