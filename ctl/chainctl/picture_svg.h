// SPDX-License-Identifier: Apache-2.0
//
// The picture of `chainctl map` as a drawing: a row per layer, active layer on top. Resolution is
// bounded, so the document stays small however many extents there are.
#pragma once

#include <string>

#include "ctl/chainctl/picture.h"

namespace chainfs::chainctl {

// A stand-alone SVG document.
std::string DrawSvg(const DiskMap& map);

}  // namespace chainfs::chainctl
