// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/picture_svg.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

constexpr size_t kColumns = 800;
constexpr size_t kNameRoom = 220;
constexpr size_t kUseRoom = 130;
constexpr size_t kRow = 22;
constexpr size_t kHead = 34;

std::string EscapeXml(std::string_view text) {
  std::string escaped;
  for (const char letter : SafeText(text)) {
    switch (letter) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += letter;
    }
  }
  return escaped;
}

const char* FillOf(size_t depth) {
  static constexpr std::array kFills = {"#2e7d32", "#00838f", "#f9a825",
                                        "#1565c0", "#8e24aa", "#c62828"};
  return kFills[depth % kFills.size()];
}

double ShareOf(const MapCell& cell, size_t depth) {
  if (depth >= cell.layers.size() || cell.bytes == 0) return 0;
  return static_cast<double>(cell.layers[depth].total()) / static_cast<double>(cell.bytes);
}

// Neighbouring columns of the same shade become one rectangle.
std::string Lane(const std::vector<MapCell>& raster, size_t depth, size_t y) {
  const auto shade = [&](size_t column) {
    const double share = ShareOf(raster[column], depth);
    return share == 0 ? 0 : std::max(1, static_cast<int>(std::lround(share * 4)));
  };
  std::string text;
  for (size_t begin = 0; begin < raster.size();) {
    const int level = shade(begin);
    size_t end = begin + 1;
    while (end < raster.size() && shade(end) == level) ++end;
    if (level > 0) {
      text += fmt::format(
          "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"{}\"/>\n",
          kNameRoom + begin, y, end - begin, kRow - 4, FillOf(depth), level * 0.25);
    }
    begin = end;
  }
  return text;
}

}  // namespace

std::string DrawSvg(const DiskMap& map) {
  const MapUse use = SumUse(map);
  const std::vector<MapCell> raster = Rasterize(map, kColumns);
  const size_t width = kNameRoom + kColumns + kUseRoom;
  const size_t height = kHead + use.layers.size() * kRow + kRow + 8;
  std::string text = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"12\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
      "<text x=\"8\" y=\"20\" font-weight=\"bold\">{2}, {3}</text>\n",
      width, height, EscapeXml(map.name), FormatSize(map.size));
  for (size_t depth = 0; depth < use.layers.size(); ++depth) {
    const size_t y = kHead + depth * kRow;
    const std::string name = depth < map.layers.size() ? std::string(BaseName(map.layers[depth]))
                                                       : fmt::format("layer {}", depth);
    text += fmt::format(
        "<text x=\"8\" y=\"{}\">{}</text>\n<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" "
        "fill=\"#eeeeee\"/>\n{}<text x=\"{}\" y=\"{}\">{}</text>\n",
        y + 14, EscapeXml(name), kNameRoom, y, kColumns, kRow - 4, Lane(raster, depth, y),
        kNameRoom + kColumns + 8, y + 14, FormatSize(use.layers[depth].total()));
  }
  const size_t foot = kHead + use.layers.size() * kRow + 14;
  text += fmt::format(
      "<text x=\"{}\" y=\"{}\">0</text>\n<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n"
      "<text x=\"8\" y=\"{}\">unallocated: {} (reads as zeros)</text>\n</svg>\n",
      kNameRoom, foot, kNameRoom + kColumns, foot, FormatSize(map.size), foot,
      FormatSize(use.absent));
  return text;
}

}  // namespace chainfs::chainctl
