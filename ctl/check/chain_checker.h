// SPDX-License-Identifier: Apache-2.0
//
// CheckChain: an image and all that it is built on, by the names in the headers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ctl/check/image_checker.h"

namespace chainfs::check {

struct CheckedLayer {
  std::string path;  // as its overlay, or the user, says it, from here
  std::optional<CheckedImage> image;
  std::optional<Error> error;         // why there is no image
  std::vector<std::string> problems;  // of its place in the chain
  std::vector<std::string> remarks;   // no problems, but worth to know
};

// The layers from the image down. The chain ends at the first layer that cannot be opened. Only the
// first is repaired.
std::vector<CheckedLayer> CheckChain(const ImageRequest& request);

}  // namespace chainfs::check
