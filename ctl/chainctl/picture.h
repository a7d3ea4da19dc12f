// SPDX-License-Identifier: Apache-2.0
//
// The picture of `chainctl map`: which layer serves which part of a flat disk. Pure functions of
// the extents; no files, no terminal.
//
// Terms: the disk is drawn left to right in cells of equal size. Layer 0 is the active one. A range
// is *absent* when no layer has it (it reads as zeros), *zero* when a layer says that it is zero.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/result.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {

struct MapExtent {
  enum class Kind : unsigned char { kAbsent, kZero, kData, kCompressed };
  uint64_t start = 0;
  uint64_t length = 0;
  uint32_t depth = 0;  // the layer; of no meaning for kAbsent
  Kind kind = Kind::kAbsent;
};

struct DiskMap {
  std::string name;
  uint64_t size = 0;                // bytes; > 0 unless the disk is empty
  std::vector<std::string> layers;  // file names, active layer first
  std::vector<MapExtent> extents;   // ascending
};

// The JSON of MNT/.chainfs/map/NAME.json (the keys of `qemu-img map --output=json`).
Result<std::vector<MapExtent>> ParseMap(std::string_view text, std::string_view what);

// Bytes of the flat disk that a layer serves.
struct LayerUse {
  uint64_t data = 0;  // uncompressed
  uint64_t compressed = 0;
  uint64_t zero = 0;
  uint64_t total() const { return data + compressed + zero; }
};
struct MapUse {
  std::vector<LayerUse> layers;  // as many as DiskMap::layers, or more if the extents say so
  uint64_t absent = 0;
};
MapUse SumUse(const DiskMap& map);

// One cell of the drawing: bytes by layer, in the order of the disk.
struct MapCell {
  uint64_t bytes = 0;
  std::vector<LayerUse> layers;  // only as long as the deepest layer seen in the cell needs
};
std::vector<MapCell> Rasterize(const DiskMap& map, size_t cells);

enum class PictureStyle : unsigned char {
  kAuto,   // lanes while they fit on a screen, else bar
  kLanes,  // a line per layer; shade = how much of the cell it serves
  kBar,    // one bar; letter = the layer that serves most of the cell
};
struct PictureOptions {
  PictureStyle style = PictureStyle::kAuto;
  size_t width = 80;  // characters
  bool utf8 = false;
  Painter painter{false};
};
// Ends with a newline.
std::string DrawPicture(const DiskMap& map, const PictureOptions& options);

// 'A' for the active layer, then B..Z, a..z, 0..9; '*' for all deeper ones.
char LayerLetter(size_t depth);

}  // namespace chainfs::chainctl
