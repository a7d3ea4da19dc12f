// SPDX-License-Identifier: Apache-2.0
//
// The picture of `map`: every byte is counted once, in the right cell and the right layer; lines
// have the width asked for; nothing hostile reaches the terminal.
#include "ctl/chainctl/picture.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <sstream>

#include "ctl/chainctl/picture_svg.h"

namespace chainfs::chainctl {
namespace {

using Kind = MapExtent::Kind;

constexpr uint64_t kMiB = 1 << 20;

DiskMap Small() {
  return {.name = "vm1",
          .size = 64 * kMiB,
          .layers = {"/img/vm1.2.qcow2", "/img/vm1.1.qcow2", "/img/base.raw"},
          .extents = {{0, 16 * kMiB, 0, Kind::kData},
                      {16 * kMiB, 8 * kMiB, 2, Kind::kData},
                      {24 * kMiB, 8 * kMiB, 2, Kind::kCompressed},
                      {32 * kMiB, 16 * kMiB, 0, Kind::kZero},
                      {48 * kMiB, 16 * kMiB, 0, Kind::kAbsent}}};
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

uint64_t BytesIn(const std::vector<MapCell>& raster, size_t depth) {
  uint64_t bytes = 0;
  for (const MapCell& cell : raster) {
    if (depth < cell.layers.size()) bytes += cell.layers[depth].total();
  }
  return bytes;
}

TEST(MapUseTest, SumsByLayerAndKind) {
  const MapUse use = SumUse(Small());
  ASSERT_EQ(use.layers.size(), 3U);
  EXPECT_EQ(use.layers[0].data, 16 * kMiB);
  EXPECT_EQ(use.layers[0].zero, 16 * kMiB);
  EXPECT_EQ(use.layers[1].total(), 0U);
  EXPECT_EQ(use.layers[2].data, 8 * kMiB);
  EXPECT_EQ(use.layers[2].compressed, 8 * kMiB);
  EXPECT_EQ(use.absent, 16 * kMiB);
}

TEST(MapUseTest, AnExtentOfALayerWithoutANameIsCounted) {
  DiskMap map = Small();
  map.extents[0].depth = 7;
  EXPECT_EQ(SumUse(map).layers.at(7).data, 16 * kMiB);
  EXPECT_NE(DrawPicture(map, {.width = 60}).find("layer 7"), std::string::npos);
}

TEST(RasterizeTest, EveryByteIsInOneCell) {
  const DiskMap map = Small();
  for (const size_t cells : {1U, 3U, 7U, 64U, 1000U}) {
    const std::vector<MapCell> raster = Rasterize(map, cells);
    uint64_t all = 0;
    for (const MapCell& cell : raster) all += cell.bytes;
    EXPECT_EQ(all, map.size);
    EXPECT_EQ(BytesIn(raster, 0), 32 * kMiB);
    EXPECT_EQ(BytesIn(raster, 1), 0U);
    EXPECT_EQ(BytesIn(raster, 2), 16 * kMiB);
  }
}

TEST(RasterizeTest, RandomMapsLoseNothing) {
  const char* const given = std::getenv("CHAINFS_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE("CHAINFS_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 200; ++round) {
    DiskMap map{.name = "r", .size = 0, .layers = {"a", "b", "c"}, .extents = {}};
    const size_t count = random() % 50;
    for (size_t i = 0; i < count; ++i) {
      const uint64_t length = 1 + random() % 100000;
      map.extents.push_back({.start = map.size,
                             .length = length,
                             .depth = static_cast<uint32_t>(random() % 3),
                             .kind = static_cast<Kind>(random() % 4)});
      map.size += length;
    }
    const MapUse use = SumUse(map);
    const std::vector<MapCell> raster = Rasterize(map, 1 + random() % 300);
    for (size_t depth = 0; depth < 3; ++depth) {
      EXPECT_EQ(BytesIn(raster, depth), use.layers[depth].total());
    }
  }
}

TEST(RasterizeTest, HugeAndEmptyDisks) {
  DiskMap map{.name = "big", .size = INT64_MAX, .layers = {"a"}, .extents = {}};
  map.extents = {{0, INT64_MAX, 0, Kind::kData}};
  EXPECT_EQ(BytesIn(Rasterize(map, 9999), 0), uint64_t{INT64_MAX});
  map.size = 0;
  map.extents.clear();
  EXPECT_EQ(Rasterize(map, 10).size(), 10U);
  EXPECT_FALSE(DrawPicture(map, {.width = 40}).empty());
  // The disk may have grown between the two reads.
  EXPECT_EQ(BytesIn(Rasterize({"x", 10, {"a"}, {{5, 100, 0, Kind::kData}}}, 2), 0), 5U);
}

TEST(LanesTest, OneLinePerLayer) {
  const std::string text = DrawPicture(Small(), {.style = PictureStyle::kLanes, .width = 45});
  EXPECT_EQ(text,
            "vm1  64 MiB, 3 layers; one cell is 3.2 MiB\n"
            "A vm1.2.qcow2 |#####     -----     |   32 MiB\n"
            "B vm1.1.qcow2 |                    |      0 B\n"
            "C base.raw    |     #####          |   16 MiB\n"
            "               0             64 MiB\n"
            "  unallocated: 16 MiB (reads as zeros)\n"
            "  - a layer says that this part is zero\n")
      << text;
}

TEST(LanesTest, LanesAreEquallyWide) {
  for (const size_t width : {10U, 40U, 80U, 200U}) {
    for (const bool utf8 : {false, true}) {
      const auto lines = LinesOf(
          DrawPicture(Small(), {.style = PictureStyle::kLanes, .width = width, .utf8 = utf8}));
      ASSERT_GE(lines.size(), 4U);
      for (size_t i = 1; i <= 3; ++i) {
        EXPECT_EQ(TextWidth(lines[i]), TextWidth(lines[1]));
        EXPECT_TRUE(width < 40 || TextWidth(lines[i]) == width) << lines[i];
      }
    }
  }
}

TEST(BarTest, LetterOfTheLayerThatServesMost) {
  const std::string text = DrawPicture(Small(), {.style = PictureStyle::kBar, .width = 36});
  EXPECT_NE(text.find("|AAAAAAAACCCCCCCC--------........|"), std::string::npos) << text;
  EXPECT_NE(text.find("32 MiB, 16 MiB of it zero"), std::string::npos) << text;
  EXPECT_NE(text.find("16 MiB, 8 MiB compressed"), std::string::npos) << text;
  EXPECT_NE(text.find("1 layer serves nothing"), std::string::npos) << text;
}

TEST(BarTest, DeepChainsGetABar) {
  DiskMap map{.name = "deep", .size = 512 * kMiB, .layers = {}, .extents = {}};
  for (uint32_t i = 0; i < 512; ++i) {
    map.layers.push_back("/img/l" + std::to_string(i));
    map.extents.push_back({i * kMiB, kMiB, i, Kind::kData});
  }
  const auto lines = LinesOf(DrawPicture(map, {.width = 80}));
  ASSERT_GE(lines.size(), 3U);
  EXPECT_TRUE(lines[1].starts_with(" |A")) << lines[1];
}

TEST(LetterTest, EachLayerItsOwnWhileTheyLast) {
  EXPECT_EQ(LayerLetter(0), 'A');
  EXPECT_EQ(LayerLetter(25), 'Z');
  EXPECT_EQ(LayerLetter(26), 'a');
  EXPECT_EQ(LayerLetter(61), '9');
  EXPECT_EQ(LayerLetter(62), '*');
}

TEST(PictureTest, HostileNamesAreHarmless) {
  DiskMap map = Small();
  map.name = "vm\x1b]0;x\x07";
  map.layers[0] = "/img/\x1b[2J<script>.qcow2";
  const std::string text = DrawPicture(map, {.width = 80});
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  const std::string svg = DrawSvg(map);
  EXPECT_EQ(svg.find('\x1b'), std::string::npos);
  EXPECT_EQ(svg.find("<script>"), std::string::npos);
}

TEST(SvgTest, StaysSmallForManyExtents) {
  DiskMap map{.name = "v", .size = 100000 * kMiB, .layers = {"a", "b"}, .extents = {}};
  for (uint32_t i = 0; i < 100000; ++i) {
    map.extents.push_back({i * kMiB, kMiB, i % 2, Kind::kData});
  }
  const std::string svg = DrawSvg(map);
  EXPECT_TRUE(svg.starts_with("<svg "));
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_LT(svg.size(), 300000U);
}

TEST(ParseMapTest, KindsOfExtents) {
  const auto extents = ParseMap(
      R"([{"start":0,"length":5,"depth":0,"present":true,"zero":false,"data":true,
           "compressed":false,"offset":0},
          {"start":5,"length":5,"depth":1,"present":true,"zero":false,"data":true,
           "compressed":true},
          {"start":10,"length":5,"depth":1,"present":true,"zero":true,"data":false,
           "compressed":false},
          {"start":15,"length":5,"depth":1,"present":false,"zero":true,"data":false,
           "compressed":false}])",
      "map");
  ASSERT_TRUE(extents.has_value());
  ASSERT_EQ(extents->size(), 4U);
  EXPECT_EQ((*extents)[0].kind, Kind::kData);
  EXPECT_EQ((*extents)[1].kind, Kind::kCompressed);
  EXPECT_EQ((*extents)[2].kind, Kind::kZero);
  EXPECT_EQ((*extents)[2].depth, 1U);
  EXPECT_EQ((*extents)[3].kind, Kind::kAbsent);
  EXPECT_FALSE(ParseMap("[{", "map").has_value());
}

}  // namespace
}  // namespace chainfs::chainctl
