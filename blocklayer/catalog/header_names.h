// SPDX-License-Identifier: Apache-2.0
//
// Which files the names in a header may mean.
#pragma once

#include <string>
#include <vector>

#include "blocklayer/image/header_peek.h"

namespace chainfs {

// What the names in the header may mean to QEMU, as paths to follow from the image's directory: the
// backing file first, without "file:", every string of a json: description, and the data file.
std::vector<std::string> NamesOf(const HeaderPeek& peek);

}  // namespace chainfs
