// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/picture.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

constexpr size_t kMostLanes = 24;    // more would not fit on a screen
constexpr size_t kNarrowest = 12;    // cells, whatever the width
constexpr size_t kLongestName = 28;  // characters

void Add(LayerUse& use, MapExtent::Kind kind, uint64_t bytes) {
  switch (kind) {
    case MapExtent::Kind::kData:
      use.data += bytes;
      break;
    case MapExtent::Kind::kCompressed:
      use.compressed += bytes;
      break;
    case MapExtent::Kind::kZero:
      use.zero += bytes;
      break;
    case MapExtent::Kind::kAbsent:
      break;
  }
}

Colour ColourOf(size_t depth) {
  static constexpr std::array kColours = {Colour::kGreen, Colour::kCyan,    Colour::kYellow,
                                          Colour::kBlue,  Colour::kMagenta, Colour::kRed};
  return kColours[depth % kColours.size()];
}

std::string Shorten(std::string_view path, size_t width, bool utf8) {
  const size_t slash = path.rfind('/');
  std::string name = SafeText(slash == std::string_view::npos ? path : path.substr(slash + 1));
  if (TextWidth(name) <= width) return name;
  // The end of a name tells snapshots apart.
  while (TextWidth(name) > width - 1) {
    size_t first = 1;
    while (first < name.size() && (static_cast<unsigned char>(name[first]) & 0xC0U) == 0x80U) {
      ++first;
    }
    name.erase(0, first);
  }
  return (utf8 ? "…" : "~") + name;
}

std::string Padded(std::string text, size_t width) {
  const size_t have = TextWidth(text);
  if (have < width) text.append(width - have, ' ');
  return text;
}

// How much of the cell, as a mark.
std::string ShadeOf(uint64_t data, uint64_t zero, uint64_t cell, bool utf8) {
  static constexpr std::array kBlocks = {"░", "▒", "▓", "█"};
  static constexpr std::array kAscii = {".", ":", "+", "#"};
  if (data == 0) return zero == 0 ? " " : "-";
  const auto step = static_cast<size_t>(
      std::min(3.0, 4.0 * static_cast<double>(data) / static_cast<double>(cell)));
  return utf8 ? kBlocks[step] : kAscii[step];
}

std::string Ruler(uint64_t size, size_t cells) {
  const std::string end = FormatSize(size);
  if (cells <= end.size() + 2) return "0";
  return "0" + std::string(cells - 1 - end.size(), ' ') + end;
}

std::string Heading(const DiskMap& map, size_t cells, const Painter& painter) {
  const size_t depth = map.layers.size();
  return fmt::format("{}  {}, {} {}; one cell is {}\n",
                     painter.Paint(Colour::kBold, SafeText(map.name)), FormatSize(map.size), depth,
                     depth == 1 ? "layer" : "layers",
                     FormatSize(cells == 0 ? 0 : (map.size + cells - 1) / cells));
}

std::string UseText(const LayerUse& use) {
  std::string text = FormatSize(use.total());
  if (use.zero > 0) text += fmt::format(", {} of it zero", FormatSize(use.zero));
  if (use.compressed > 0) text += fmt::format(", {} compressed", FormatSize(use.compressed));
  return text;
}

std::string DrawLanes(const DiskMap& map, const MapUse& use, const PictureOptions& options) {
  size_t name_width = TextWidth("unallocated");
  for (const std::string& layer : map.layers) {
    name_width = std::max(name_width, TextWidth(Shorten(layer, kLongestName, options.utf8)));
  }
  constexpr size_t kSizeWidth = 9;                       // " 1023 MiB"
  const size_t fixed = 2 + name_width + 3 + kSizeWidth;  // "A name |" ... "|"
  const size_t cells = options.width > fixed + kNarrowest ? options.width - fixed : kNarrowest;
  const std::vector<MapCell> raster = Rasterize(map, cells);
  const std::string edge = options.utf8 ? "│" : "|";
  std::string text = Heading(map, cells, options.painter);
  for (size_t depth = 0; depth < use.layers.size(); ++depth) {
    std::string lane;
    for (const MapCell& cell : raster) {
      const LayerUse part = depth < cell.layers.size() ? cell.layers[depth] : LayerUse{};
      lane += ShadeOf(part.data + part.compressed, part.zero, cell.bytes, options.utf8);
    }
    const std::string name =
        depth < map.layers.size() ? map.layers[depth] : fmt::format("layer {}", depth);
    text += fmt::format("{} {} {}{}{}{:>{}}\n", LayerLetter(depth),
                        Padded(Shorten(name, kLongestName, options.utf8), name_width), edge,
                        options.painter.Paint(ColourOf(depth), lane), edge,
                        FormatSize(use.layers[depth].total()), kSizeWidth);
  }
  text += fmt::format("{}{}\n", std::string(2 + name_width + 2, ' '), Ruler(map.size, cells));
  if (use.absent > 0) {
    text += fmt::format("  unallocated: {} (reads as zeros)\n", FormatSize(use.absent));
  }
  if (std::ranges::any_of(use.layers, [](const LayerUse& layer) { return layer.zero > 0; })) {
    text += "  - a layer says that this part is zero\n";
  }
  return text;
}

struct BarMark {
  char letter = '.';
  std::optional<size_t> depth;
};

BarMark MarkOf(const MapCell& cell) {
  BarMark mark;
  uint64_t most = 0;
  uint64_t zero = 0;
  for (size_t depth = 0; depth < cell.layers.size(); ++depth) {
    const uint64_t data = cell.layers[depth].data + cell.layers[depth].compressed;
    zero += cell.layers[depth].zero;
    if (data > most) {
      most = data;
      mark = {.letter = LayerLetter(depth), .depth = depth};
    }
  }
  if (most == 0 && zero > 0) mark.letter = '-';
  return mark;
}

std::string Legend(const DiskMap& map, const MapUse& use, const PictureOptions& options) {
  const Painter& painter = options.painter;
  std::string text;
  size_t idle = 0;
  for (size_t depth = 0; depth < use.layers.size(); ++depth) {
    if (use.layers[depth].total() == 0) {
      ++idle;
      continue;
    }
    const std::string name =
        depth < map.layers.size() ? map.layers[depth] : fmt::format("layer {}", depth);
    text += fmt::format("  {}  {}  {}\n",
                        painter.Paint(ColourOf(depth), std::string(1, LayerLetter(depth))),
                        Padded(Shorten(name, kLongestName, options.utf8), kLongestName),
                        UseText(use.layers[depth]));
  }
  if (use.absent > 0) {
    text += fmt::format("  .  {}  {}\n", Padded("unallocated (reads as zeros)", kLongestName),
                        FormatSize(use.absent));
  }
  if (std::ranges::any_of(use.layers, [](const LayerUse& layer) { return layer.zero > 0; })) {
    text += "  -  a layer says that this part is zero\n";
  }
  if (idle > 0) {
    text += fmt::format("     {} {} nothing of the disk\n", idle,
                        idle == 1 ? "layer serves" : "layers serve");
  }
  return text;
}

std::string DrawBar(const DiskMap& map, const MapUse& use, const PictureOptions& options) {
  const size_t cells = options.width > kNarrowest + 4 ? options.width - 4 : kNarrowest;
  const std::string edge = options.utf8 ? "│" : "|";
  std::string bar;
  for (const MapCell& cell : Rasterize(map, cells)) {
    const BarMark mark = MarkOf(cell);
    bar += options.painter.Paint(mark.depth ? ColourOf(*mark.depth) : Colour::kDim,
                                 std::string(1, mark.letter));
  }
  return fmt::format("{} {}{}{}\n  {}\n{}", Heading(map, cells, options.painter), edge, bar, edge,
                     Ruler(map.size, cells), Legend(map, use, options));
}

}  // namespace

char LayerLetter(size_t depth) {
  constexpr std::string_view kLetters =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  return depth < kLetters.size() ? kLetters[depth] : '*';
}

Result<std::vector<MapExtent>> ParseMap(std::string_view text, std::string_view what) {
  CHAINFS_ASSIGN(const nlohmann::json value, ParseJson(text, what));
  std::vector<MapExtent> extents;
  if (!value.is_array()) return extents;
  extents.reserve(value.size());
  for (const nlohmann::json& entry : value) {
    MapExtent extent{
        .start = NumberOf(entry, "start"),
        .length = NumberOf(entry, "length"),
        .depth = static_cast<uint32_t>(std::min<uint64_t>(NumberOf(entry, "depth"), UINT16_MAX)),
        .kind = MapExtent::Kind::kData};
    if (!FlagOf(entry, "present")) {
      extent.kind = MapExtent::Kind::kAbsent;
    } else if (FlagOf(entry, "compressed")) {
      extent.kind = MapExtent::Kind::kCompressed;
    } else if (FlagOf(entry, "zero") || !FlagOf(entry, "data")) {
      extent.kind = MapExtent::Kind::kZero;
    }
    extents.push_back(extent);
  }
  return extents;
}

MapUse SumUse(const DiskMap& map) {
  MapUse use;
  use.layers.resize(map.layers.size());
  for (const MapExtent& extent : map.extents) {
    if (extent.kind == MapExtent::Kind::kAbsent) {
      use.absent += extent.length;
      continue;
    }
    if (extent.depth >= use.layers.size()) use.layers.resize(extent.depth + size_t{1});
    Add(use.layers[extent.depth], extent.kind, extent.length);
  }
  return use;
}

std::vector<MapCell> Rasterize(const DiskMap& map, size_t cells) {
  std::vector<MapCell> raster(cells);
  if (cells == 0 || map.size == 0) return raster;
  // Cell i is [size * i / cells, size * (i + 1) / cells): the last one ends with the disk.
  const auto bound = [&](size_t cell) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>(static_cast<Wide>(map.size) * cell / cells);
  };
  for (size_t i = 0; i < cells; ++i) raster[i].bytes = bound(i + 1) - bound(i);
  size_t cell = 0;
  for (const MapExtent& extent : map.extents) {
    if (extent.start >= map.size) break;
    const uint64_t end = extent.start + std::min(extent.length, map.size - extent.start);
    while (cell > 0 && bound(cell) > extent.start) --cell;
    for (uint64_t at = extent.start; at < end;) {
      while (bound(cell + 1) <= at) ++cell;
      const uint64_t stop = std::min(end, bound(cell + 1));
      if (extent.kind != MapExtent::Kind::kAbsent) {
        auto& layers = raster[cell].layers;
        if (extent.depth >= layers.size()) layers.resize(extent.depth + size_t{1});
        Add(layers[extent.depth], extent.kind, stop - at);
      }
      at = stop;
    }
  }
  return raster;
}

std::string DrawPicture(const DiskMap& map, const PictureOptions& options) {
  const MapUse use = SumUse(map);
  const bool lanes = options.style == PictureStyle::kLanes ||
                     (options.style == PictureStyle::kAuto && use.layers.size() <= kMostLanes);
  return lanes ? DrawLanes(map, use, options) : DrawBar(map, use, options);
}

}  // namespace chainfs::chainctl
